//! The goldens compile, in a crate that denies what a strict one would, and without a single warning.

#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    rust_2018_idioms,
    clippy::all,
    clippy::pedantic
)]
// The goldens' own modules are written here, below; what is inside is not.
#![allow(missing_docs)]

#[deny(missing_docs)]
mod hello {
    include!("goldens/hello/_.rs");
}

#[deny(missing_docs)]
pub mod golden {
    //! The package that the goldens are in.

    pub mod kinds {
        //! All kinds of rpcs.
        include!("goldens/kinds/golden.kinds.rs");
    }
    pub mod nested {
        //! Types in types.
        include!("goldens/nested/golden.nested.rs");
    }
    pub mod well_known {
        //! Types of `google.protobuf`.
        include!("goldens/well_known/golden.well_known.rs");
    }
    pub mod r#type {
        //! A keyword.
        pub mod r {
            //! Names that meet those of generated code.
            include!("goldens/names/golden.type.r.rs");
        }
    }
    pub mod clash {
        //! Services and messages of one name.
        include!("goldens/clash/golden.clash.rs");
    }
    pub mod proto2 {
        //! The old syntax.
        include!("goldens/proto2/golden.proto2.rs");
    }
    pub mod elsewhere {
        //! Messages from elsewhere.
        include!("goldens/elsewhere/golden.elsewhere.rs");
    }
    pub mod client_only {
        //! Without handlers and without JSON.
        include!("goldens/client_only/golden.client_only.rs");
    }
    pub mod server_only {
        //! Without clients.
        include!("goldens/server_only/golden.server_only.rs");
    }
    pub mod options {
        //! With options.
        include!("goldens/options/golden.options.rs");
    }
}

pub mod packages {
    //! Several packages, by their include file.
    include!("goldens/packages/mod.rs");
}

pub mod empty {
    //! Nothing much, in folders.
    include!("goldens/empty/all.rs");
}

pub mod ext {
    //! What others refer to.
    pub mod v1 {
        //! With our JSON.
        include!("goldens/ext/ext.v1.rs");
    }
}

pub mod plain {
    //! What others refer to.
    pub mod v1 {
        //! Taken to be without it.
        include!("goldens/ext/plain.v1.rs");
    }
}

pub mod stub_messages {
    //! The messages that stubs are made for.
    pub mod golden {
        //! A package.
        pub mod stubs {
            //! Messages that something else generated.
            #[derive(Clone, PartialEq, micro_runtime::prost::Message)]
            #[prost(prost_path = "::micro_runtime::prost")]
            pub struct Request {}

            #[derive(Clone, PartialEq, micro_runtime::prost::Message)]
            #[prost(prost_path = "::micro_runtime::prost")]
            pub struct Reply {}

            pub mod reply {
                //! Inside of `Reply`.
                #[derive(Clone, PartialEq, micro_runtime::prost::Message)]
                #[prost(prost_path = "::micro_runtime::prost")]
                pub struct Inner {}
            }
        }
    }
}

pub mod stubs {
    //! Services over another module's messages.
    include!("goldens/stubs/golden.stubs.rs");
}
