//! [`Builder`]: the library for build scripts.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use prost::Message;
use prost_build::{Config, ServiceGenerator};

use crate::build_error::BuildError;
use crate::descriptor::{FileName, RawRequest};
use crate::diagnostic::Diagnostic;
use crate::generate::{self, Configure, Generated, Standalone};
use crate::options::{Layout, Options};
use crate::protoc::{self, Protoc};

/// Generates code in a build script.
///
/// ```no_run
/// # fn main() -> Result<(), protoc_gen_micro::BuildError> {
/// protoc_gen_micro::Builder::new()
///     .files(["proto/hello.proto"])
///     .includes(["proto"])
///     .btree_map(["."])
///     .compile()?;
/// # Ok(())
/// # }
/// ```
///
/// The files are written into `OUT_DIR`, one per package, with `_micro.rs` to include them all; the runtime's
/// `include_proto!()` does so.
#[must_use = "a builder does nothing until `compile` is called"]
pub struct Builder {
    options: Options,
    files: Vec<PathBuf>,
    includes: Vec<PathBuf>,
    out_dir: Option<PathBuf>,
    protoc: Protoc,
    protoc_arguments: Vec<OsString>,
    emit_rerun: bool,
    configure: Vec<Change>,
}

/// A user's change to prost-build's settings.
type Change = Box<dyn FnMut(&mut Config)>;

/// What [`Builder::compile`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The generated files, in the order of their names.
    pub files: Vec<PathBuf>,
    /// What the user should know, although there is code. In a build script cargo prints them too.
    pub warnings: Vec<Diagnostic>,
}

/// Generates code for `.proto` files into `OUT_DIR`: [`Builder`] with nothing but defaults.
///
/// Paths are relative to the package's folder. Everything that a file imports must be below one of the
/// `includes`, which is also where the files themselves are found.
///
/// # Errors
/// As [`Builder::compile`].
pub fn compile_protos(
    files: impl IntoIterator<Item = impl Into<PathBuf>>,
    includes: impl IntoIterator<Item = impl Into<PathBuf>>,
) -> Result<Report, BuildError> {
    Builder::new().files(files).includes(includes).compile()
}

/// Our part of a prost-build call of your own: clients and handlers for the services in it, over the messages that
/// it generates. [`Builder::service_generator`] with nothing but defaults.
///
/// ```no_run
/// // build.rs
/// fn main() -> std::io::Result<()> {
///     prost_build::Config::new()
///         .service_generator(protoc_gen_micro::service_generator())
///         .compile_protos(&["proto/hello.proto"], &["proto"])
/// }
/// ```
///
/// The messages must be prost's of the version that the runtime re-exports (`micro_runtime::prost`), and they speak
/// protobuf alone: calls with JSON are answered with an error. What prost-build does not hand on is missing
/// too: the fields of messages in the registry, and `google.api.http`. For all of that over messages of your
/// own, see [`Builder::message_module`].
#[must_use]
pub fn service_generator() -> Box<dyn ServiceGenerator> {
    Box::new(Standalone::default())
}

// ===== impl Builder =====

impl Builder {
    /// A builder with the defaults: messages, JSON, clients and handlers, into `OUT_DIR`.
    pub fn new() -> Builder {
        Builder {
            options: Options {
                include_file: Some("_micro.rs".to_owned()),
                ..Options::default()
            },
            files: Vec::new(),
            includes: Vec::new(),
            out_dir: None,
            protoc: Protoc::default(),
            protoc_arguments: Vec::new(),
            emit_rerun: true,
            configure: Vec::new(),
        }
    }

    /// Adds files to generate code for. With [`Protoc::DescriptorSet`] they may be left out: then all files
    /// of the set are meant.
    pub fn files(mut self, files: impl IntoIterator<Item = impl Into<PathBuf>>) -> Builder {
        self.files.extend(files.into_iter().map(Into::into));
        self
    }

    /// Adds folders that imports are relative to. Default: the package's folder.
    pub fn includes(mut self, includes: impl IntoIterator<Item = impl Into<PathBuf>>) -> Builder {
        self.includes.extend(includes.into_iter().map(Into::into));
        self
    }

    /// Where files are written; made if it is not there. Default: the environment variable `OUT_DIR`.
    pub fn out_dir(mut self, path: impl Into<PathBuf>) -> Builder {
        self.out_dir = Some(path.into());
        self
    }

    /// The name of the file that includes all others, packages as nested modules. Default: `_micro.rs`, which
    /// is what the runtime's `include_proto!()` reads.
    pub fn include_file(mut self, name: impl Into<String>) -> Builder {
        self.options.include_file = Some(name.into());
        self
    }

    /// Where protoc comes from. Default: [`Protoc::Env`].
    pub fn protoc(mut self, protoc: Protoc) -> Builder {
        self.protoc = protoc;
        self
    }

    /// Adds an argument for protoc.
    pub fn protoc_arg(mut self, argument: impl Into<OsString>) -> Builder {
        self.protoc_arguments.push(argument.into());
        self
    }

    /// Whether to write messages and enums. Default: true.
    pub fn messages(mut self, yes: bool) -> Builder {
        self.options.messages = yes;
        self
    }

    /// Whether to write the clients of services. Default: true.
    pub fn client(mut self, yes: bool) -> Builder {
        self.options.client = yes;
        self
    }

    /// Whether to write the handlers of services. Default: true.
    pub fn server(mut self, yes: bool) -> Builder {
        self.options.server = yes;
        self
    }

    /// Whether to write the JSON mapping of messages. Without it, calls with JSON are answered with an error.
    /// Default: true.
    pub fn json(mut self, yes: bool) -> Builder {
        self.options.json = yes;
        self
    }

    /// Takes all messages from a Rust module that was generated elsewhere, and writes services alone.
    pub fn message_module(mut self, module: impl Into<String>) -> Builder {
        self.options.message_module = Some(module.into());
        self
    }

    /// Takes a package or a type (`.shop.v1`) from elsewhere (`::shop::v1`); nothing is generated for it.
    ///
    /// Such messages are taken to have no JSON mapping, and neither have the messages that hold them, unless
    /// [`Builder::extern_json`] says otherwise.
    pub fn extern_path(mut self, proto: impl Into<String>, rust: impl Into<String>) -> Builder {
        self.options.extern_path.push((proto.into(), rust.into()));
        self
    }

    /// Says that messages from elsewhere, below this proto path, were generated with our JSON mapping.
    pub fn extern_json(mut self, proto: impl Into<String>) -> Builder {
        self.options.extern_json.push(proto.into());
        self
    }

    /// Writes no file for a package (`google.api`), nor for those below it (`google.api.expr.v1`).
    ///
    /// Code that refers to its types still does: say with [`Builder::extern_path`] where they are.
    pub fn exclude_package(mut self, package: impl Into<String>) -> Builder {
        self.options.exclude_package.push(package.into());
        self
    }

    /// Whether files go into folders (`shop/v1/shop.v1.rs`) rather than side by side (`shop.v1.rs`). Default:
    /// false.
    pub fn nested_layout(mut self, yes: bool) -> Builder {
        self.options.layout = if yes { Layout::Nested } else { Layout::Flat };
        self
    }

    /// The name, without `.rs`, of the file for protos without a package. Default: `_`.
    pub fn default_package_filename(mut self, name: impl Into<String>) -> Builder {
        self.options.default_package_filename = name.into();
        self
    }

    /// Whether to write the descriptors of each package as the constant `FILE_DESCRIPTOR_SET`. Default: false.
    ///
    /// It is an encoded `google.protobuf.FileDescriptorSet` with the package's files and all that they import, so
    /// that each package's can be used alone: a reflection service decodes those of the services that it
    /// serves, and keeps one file of each name. Options of extensions are in it, comments and positions are not.
    pub fn file_descriptor_set(mut self, yes: bool) -> Builder {
        self.options.file_descriptor_set = yes;
        self
    }

    /// The path of the runtime in the generated code. Default: `::micro_runtime`.
    pub fn runtime_path(mut self, path: impl Into<String>) -> Builder {
        self.options.runtime_path = path.into();
        self
    }

    /// Makes map fields a `BTreeMap`, so that equal messages give equal bytes. The paths of this and the
    /// following methods match as prost's do: `.` everything, `.shop.v1` what is below, `Order.lines` what
    /// ends so.
    pub fn btree_map(mut self, paths: impl IntoIterator<Item = impl Into<String>>) -> Builder {
        self.options
            .btree_map
            .extend(paths.into_iter().map(Into::into));
        self
    }

    /// Makes `bytes` fields a `Bytes`, which shares memory with what was received, in place of a `Vec<u8>`.
    pub fn bytes(mut self, paths: impl IntoIterator<Item = impl Into<String>>) -> Builder {
        self.options.bytes.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Holds fields in a `Box`. Those of messages that hold themselves are boxed anyway.
    pub fn boxed(mut self, paths: impl IntoIterator<Item = impl Into<String>>) -> Builder {
        self.options.boxed.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Leaves comments out.
    pub fn disable_comments(
        mut self,
        paths: impl IntoIterator<Item = impl Into<String>>,
    ) -> Builder {
        self.options
            .disable_comments
            .extend(paths.into_iter().map(Into::into));
        self
    }

    /// Does not derive `Debug`.
    pub fn skip_debug(mut self, paths: impl IntoIterator<Item = impl Into<String>>) -> Builder {
        self.options
            .skip_debug
            .extend(paths.into_iter().map(Into::into));
        self
    }

    /// Adds an attribute, such as `#[derive(Eq)]`, to messages, enums and oneofs.
    pub fn type_attribute(
        mut self,
        path: impl Into<String>,
        attribute: impl Into<String>,
    ) -> Builder {
        self.options
            .type_attribute
            .push((path.into(), attribute.into()));
        self
    }

    /// Adds an attribute to messages.
    pub fn message_attribute(
        mut self,
        path: impl Into<String>,
        attribute: impl Into<String>,
    ) -> Builder {
        self.options
            .message_attribute
            .push((path.into(), attribute.into()));
        self
    }

    /// Adds an attribute to enums and oneofs.
    pub fn enum_attribute(
        mut self,
        path: impl Into<String>,
        attribute: impl Into<String>,
    ) -> Builder {
        self.options
            .enum_attribute
            .push((path.into(), attribute.into()));
        self
    }

    /// Adds an attribute to fields.
    pub fn field_attribute(
        mut self,
        path: impl Into<String>,
        attribute: impl Into<String>,
    ) -> Builder {
        self.options
            .field_attribute
            .push((path.into(), attribute.into()));
        self
    }

    /// Generates `google.protobuf` too, in place of taking it from `prost_types`.
    pub fn compile_well_known_types(mut self) -> Builder {
        self.options.compile_well_known_types = true;
        self
    }

    /// Leaves the enum's name in front of its values' (`StateOpen`, not `Open`).
    pub fn retain_enum_prefix(mut self) -> Builder {
        self.options.retain_enum_prefix = true;
        self
    }

    /// Changes prost-build's own settings, after everything else is set.
    ///
    /// For what this builder has no method for. What it has one for must not be changed here: services and
    /// JSON are made from this builder's settings, and would not fit the messages.
    pub fn prost(mut self, change: impl FnMut(&mut Config) + 'static) -> Builder {
        self.configure.push(Box::new(change));
        self
    }

    /// Whether to print `cargo::rerun-if-changed` for every .proto file that was read, and
    /// `cargo::rerun-if-env-changed=PROTOC`. Default: true.
    pub fn emit_rerun(mut self, yes: bool) -> Builder {
        self.emit_rerun = yes;
        self
    }

    /// The same for a prost-build call of your own, as [`service_generator()`] describes it. Of what was set,
    /// [`client`](Builder::client), [`server`](Builder::server) and [`runtime_path`](Builder::runtime_path) count.
    ///
    /// # Errors
    /// If the runtime's path is none. What is wrong with a service, prost-build has no way to take: it becomes a
    /// `compile_error!` in the code.
    pub fn service_generator(self) -> Result<Box<dyn ServiceGenerator>, BuildError> {
        let standalone = Standalone::new(self.options).map_err(crate::Error::from)?;
        Ok(Box::new(standalone))
    }

    /// Runs protoc, generates, and writes what has changed.
    ///
    /// # Errors
    /// If protoc is missing or refuses the files, if code cannot be generated for them (all findings at once,
    /// with file and line), or if a file cannot be written.
    pub fn compile(mut self) -> Result<Report, BuildError> {
        let out_dir = match self
            .out_dir
            .take()
            .or_else(|| env::var_os("OUT_DIR").map(PathBuf::from))
        {
            Some(path) => path,
            None => {
                return Err(BuildError::new(
                    "OUT_DIR is not set: call `out_dir` outside of build scripts",
                ));
            }
        };
        let from_set = matches!(self.protoc, Protoc::DescriptorSet(_));
        if self.files.is_empty() && !from_set {
            return Err(BuildError::new(
                "there are no files to generate code for: name some with `files`",
            ));
        }
        if self.includes.is_empty() {
            self.includes.push(PathBuf::from("."));
        }
        let set = protoc::descriptors(
            &self.protoc,
            &self.files,
            &self.includes,
            &self.protoc_arguments,
        )?;
        let names = set
            .file
            .iter()
            .map(|file| FileName::decode(file.clone()).map(|file| file.name))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| BuildError::new(format!("cannot read the descriptor set: {error}")))?;
        if self.emit_rerun {
            self.rerun(&names)
                .iter()
                .for_each(|line| println!("{line}"));
        }
        let request = RawRequest {
            file_to_generate: self.targets(&names)?,
            parameter: None,
            proto_file: set.file,
        };
        let configure = &mut self.configure;
        let any = !configure.is_empty();
        let mut configure = |config: &mut Config| {
            configure.iter_mut().for_each(|change| change(config));
        };
        let configure: Option<Configure<'_>> = if any { Some(&mut configure) } else { None };
        let Generated { files, warnings } = generate::run(request, &self.options, configure)
            .map_err(|error| {
                BuildError::from(error.located(|name| on_disk(&self.includes, name)))
            })?;
        let warnings: Vec<Diagnostic> = warnings
            .into_iter()
            .map(|warning| warning.located(|name| on_disk(&self.includes, name)))
            .collect();
        if self.emit_rerun {
            warnings
                .iter()
                .for_each(|warning| println!("cargo::warning={warning}"));
        }
        let mut written = Vec::with_capacity(files.len());
        for file in files {
            let path = out_dir.join(&file.name);
            write(&path, &file.content).map_err(|error| {
                BuildError::new(format!("cannot write {}: {error}", path.display()))
            })?;
            written.push(path);
        }
        Ok(Report {
            files: written,
            warnings,
        })
    }

    /// The names, among those of the descriptor set, of the files that were asked for.
    fn targets(&self, names: &[String]) -> Result<Vec<String>, BuildError> {
        if self.files.is_empty() {
            return Ok(names.to_vec());
        }
        // By path on disk, the first include folder's before the others'; and by name.
        let mut on_disk: HashMap<PathBuf, &String> = HashMap::new();
        for name in names {
            for include in &self.includes {
                if let Ok(path) = include.join(name).canonicalize() {
                    on_disk.entry(path).or_insert(name);
                }
            }
        }
        let by_name: HashMap<&Path, &String> = names
            .iter()
            .map(|name| (Path::new(name.as_str()), name))
            .collect();
        let mut targets = BTreeSet::new();
        for file in &self.files {
            let path = file.canonicalize().ok();
            let found = path.and_then(|path| on_disk.get(&path).copied());
            let found = found.or_else(|| by_name.get(file.as_path()).copied());
            let Some(name) = found else {
                return Err(BuildError::new(format!(
                    "{} is not among the descriptors: expected one of {}",
                    file.display(),
                    names.join(", ")
                )));
            };
            targets.insert(name.clone());
        }
        Ok(targets.into_iter().collect())
    }

    /// What cargo is told, so that it runs the build script again when it has to.
    fn rerun(&self, names: &[String]) -> Vec<String> {
        let set = match &self.protoc {
            Protoc::DescriptorSet(path) => Some(path.clone()),
            _ => None,
        };
        let read = names
            .iter()
            .filter_map(|name| on_disk(&self.includes, name));
        let paths = set.into_iter().chain(read);
        let changed = paths.map(|path| format!("cargo::rerun-if-changed={}", path.display()));
        std::iter::once("cargo::rerun-if-env-changed=PROTOC".to_owned())
            .chain(changed)
            .collect()
    }
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("files", &self.files)
            .field("includes", &self.includes)
            .field("out_dir", &self.out_dir)
            .field("protoc", &self.protoc)
            .field("protoc_arguments", &self.protoc_arguments)
            .field("emit_rerun", &self.emit_rerun)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The file that an import of this name means.
fn on_disk(includes: &[PathBuf], name: &str) -> Option<PathBuf> {
    includes
        .iter()
        .map(|include| include.join(name))
        .find(|path| path.is_file())
}

/// Writes a file unless it has this content: cargo rebuilds what includes it by its time.
fn write(path: &Path, content: &str) -> std::io::Result<()> {
    if fs::read(path).is_ok_and(|before| before == content.as_bytes()) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_told_of_every_file_that_is_found() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = |name| folder.path().join(name);
        fs::write(path("a.proto"), "")?;
        let names = ["a.proto".to_owned(), "google/protobuf/any.proto".to_owned()];
        let builder = Builder::new().includes(["elsewhere".into(), folder.path().to_owned()]);
        let a = format!("cargo::rerun-if-changed={}", path("a.proto").display());
        assert_eq!(
            builder.rerun(&names),
            ["cargo::rerun-if-env-changed=PROTOC", &a]
        );
        let builder = builder.protoc(Protoc::DescriptorSet(path("set.pb")));
        let set = format!("cargo::rerun-if-changed={}", path("set.pb").display());
        assert_eq!(
            builder.rerun(&names),
            ["cargo::rerun-if-env-changed=PROTOC", &set, &a]
        );
        Ok(())
    }
}
