//! [`Options`]: everything a user can choose, from parameters or from a build script.

/// What to generate and how. The plugin fills it from its parameters, the builder from its methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Write the messages and enums.
    pub(crate) messages: bool,
    /// Write the clients of services.
    pub(crate) client: bool,
    /// Write the handlers of services.
    pub(crate) server: bool,
    /// Write the JSON mapping of messages.
    pub(crate) json: bool,
    /// The Rust module that holds all messages, generated elsewhere.
    pub(crate) message_module: Option<String>,
    /// Types from elsewhere: proto path (package or type, with its dot) and Rust path.
    pub(crate) extern_path: Vec<(String, String)>,
    /// The extern paths whose messages have our JSON mapping.
    pub(crate) extern_json: Vec<String>,
    /// Packages that get no file, and neither do those below them.
    pub(crate) exclude_package: Vec<String>,
    /// Where files go.
    pub(crate) layout: Layout,
    /// The file that includes the others as nested modules.
    pub(crate) include_file: Option<String>,
    /// The name, without `.rs`, of the file for protos without a package.
    pub(crate) default_package_filename: String,
    /// Write the descriptors as a constant.
    pub(crate) file_descriptor_set: bool,
    /// The path of the runtime.
    pub(crate) runtime_path: String,
    /// Fields that become a `BTreeMap`.
    pub(crate) btree_map: Vec<String>,
    /// Fields that become `Bytes`.
    pub(crate) bytes: Vec<String>,
    /// Fields that are held in a `Box`.
    pub(crate) boxed: Vec<String>,
    /// Items without their comments.
    pub(crate) disable_comments: Vec<String>,
    /// Messages without `Debug`.
    pub(crate) skip_debug: Vec<String>,
    /// Attributes of messages, enums and oneofs.
    pub(crate) type_attribute: Vec<(String, String)>,
    /// Attributes of messages.
    pub(crate) message_attribute: Vec<(String, String)>,
    /// Attributes of enums and oneofs.
    pub(crate) enum_attribute: Vec<(String, String)>,
    /// Attributes of fields.
    pub(crate) field_attribute: Vec<(String, String)>,
    /// Generate `google.protobuf` too, in place of `prost_types`.
    pub(crate) compile_well_known_types: bool,
    /// Leave the enum's name in front of its values.
    pub(crate) retain_enum_prefix: bool,
}

/// Where files go below the output folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `shop.v1.rs`.
    #[default]
    Flat,
    /// `shop/v1/shop.v1.rs`.
    Nested,
}

// ===== impl Options =====

impl Options {
    /// Whether a service, by its full name, keeps its comments.
    pub(crate) fn comments_of(&self, service: &str) -> bool {
        let path = format!(".{service}");
        !self
            .disable_comments
            .iter()
            .any(|matcher| crate::generate::matches(matcher, &path))
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            messages: true,
            client: true,
            server: true,
            json: true,
            message_module: None,
            extern_path: Vec::new(),
            extern_json: Vec::new(),
            exclude_package: Vec::new(),
            layout: Layout::Flat,
            include_file: None,
            default_package_filename: "_".to_owned(),
            file_descriptor_set: false,
            runtime_path: "::micro_runtime".to_owned(),
            btree_map: Vec::new(),
            bytes: Vec::new(),
            boxed: Vec::new(),
            disable_comments: Vec::new(),
            skip_debug: Vec::new(),
            type_attribute: Vec::new(),
            message_attribute: Vec::new(),
            enum_attribute: Vec::new(),
            field_attribute: Vec::new(),
            compile_well_known_types: false,
            retain_enum_prefix: false,
        }
    }
}
