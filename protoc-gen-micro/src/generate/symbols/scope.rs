//! [`Scope`]: the names of one Rust module, struct or enum, and who has them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use crate::descriptor::File;
use crate::diagnostic::Diagnostic;

/// An item of a proto.
#[derive(Clone)]
pub(super) struct Site<'a> {
    pub(super) file: &'a File,
    /// Where the descriptor's tree holds it.
    pub(super) path: Vec<i32>,
    /// "message", "field" and so on.
    pub(super) what: &'static str,
    pub(super) name: &'a str,
    /// Whose it is, as a finding says it: "message shop.Order".
    pub(super) owner: Rc<str>,
}

/// What a name in a scope stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The item itself.
    Item,
    /// The module with what is nested in a message.
    MessageModule,
    /// The module of a package.
    PackageModule,
}

/// The names of one Rust scope (one namespace of it).
#[derive(Default)]
pub(super) struct Scope<'a> {
    pub(super) taken: BTreeMap<String, (Role, Site<'a>)>,
}

// ===== impl Scope =====

impl<'a> Scope<'a> {
    /// Takes a name; two items that take one are a finding.
    pub(super) fn claim(&mut self, rust: String, role: Role, site: Site<'a>) -> Option<Diagnostic> {
        match self.taken.entry(rust) {
            // A name without letters and digits, which is a finding of its own.
            entry if entry.key().is_empty() => None,
            Entry::Vacant(entry) => {
                entry.insert((role, site));
                None
            }
            Entry::Occupied(entry) => {
                let (other, earlier) = entry.get();
                match (other, role) {
                    (Role::Item, Role::Item) => {
                        Some(earlier.collides_with(&site, entry.key(), "rename one"))
                    }
                    // Their types have one name then, which is said already.
                    (Role::MessageModule, Role::MessageModule) => None,
                    // A package below a message's module is written inside of it.
                    (Role::PackageModule | Role::MessageModule, Role::PackageModule)
                    | (Role::PackageModule, Role::MessageModule) => None,
                    _ if earlier.is(&site) => Some(site.diagnostic(format!(
                        "{} \"{}\" of {} becomes a type, and the types inside of it need a module, both of the \
                         name \"{}\"; rename it",
                        site.what,
                        site.name,
                        site.owner,
                        entry.key(),
                    ))),
                    _ => Some(earlier.collides_with(&site, entry.key(), "rename one")),
                }
            }
        }
    }
}

// ===== impl Site =====

impl<'a> Site<'a> {
    pub(super) fn new(
        file: &'a File,
        path: &[i32],
        what: &'static str,
        name: &'a str,
        owner: &Rc<str>,
    ) -> Site<'a> {
        Site {
            file,
            path: path.to_vec(),
            what,
            name,
            owner: Rc::clone(owner),
        }
    }
}

impl Site<'_> {
    /// Looked for only when it is needed: there are many sites and few findings.
    fn line(&self) -> Option<u32> {
        self.file.line(&self.path)
    }

    fn is(&self, other: &Site<'_>) -> bool {
        self.file.proto.name() == other.file.proto.name() && self.path == other.path
    }

    /// A finding at this place.
    pub(super) fn diagnostic(&self, text: String) -> Diagnostic {
        Diagnostic::at(self.file.proto.name(), self.line(), text)
    }

    /// Where this is, for a finding in another place; nothing if it is in the same file.
    pub(super) fn elsewhere(&self, from: &Site<'_>) -> String {
        let file = self.file.proto.name();
        if file == from.file.proto.name() {
            return String::new();
        }
        let line = self.line().map(|line| format!(":{line}"));
        format!(" (the other is at {file}{})", line.unwrap_or_default())
    }

    /// Both, as a finding about them begins.
    pub(super) fn and(&self, later: &Site<'_>) -> String {
        if self.owner != later.owner {
            return format!(
                "{} \"{}\" of {} and {} \"{}\" of {}",
                self.what, self.name, self.owner, later.what, later.name, later.owner
            );
        }
        if self.what == later.what {
            return format!(
                "{}s \"{}\" and \"{}\" of {}",
                self.what, self.name, later.name, self.owner
            );
        }
        format!(
            "{} \"{}\" and {} \"{}\" of {}",
            self.what, self.name, later.what, later.name, self.owner
        )
    }

    /// The finding that two items become one, at the later of the two.
    pub(super) fn collides_with(&self, later: &Site<'_>, rust: &str, way_out: &str) -> Diagnostic {
        let rust = rust.trim_start_matches("r#");
        later.diagnostic(format!(
            "{} both become \"{rust}\"; {way_out}{}",
            self.and(later),
            self.elsewhere(later)
        ))
    }
}
