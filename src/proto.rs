//! THE CONTRACT: what `build.rs` generates from `proto/`, and its descriptor set; nothing by hand.
//! Named by `grpc`, `cli`, `client` and tests only.

#![expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::disallowed_types,
    reason = "generated code is not held to the house's lints"
)]

/// The package `keyward.v1`.
pub mod keyward {
    /// See `proto/keyward/v1`.
    pub mod v1 {
        tonic::include_proto!("keyward.v1");
    }
}

/// The parts of Envoy's API that ext_authz needs.
pub mod envoy {
    pub mod config {
        pub mod core {
            pub mod v3 {
                tonic::include_proto!("envoy.config.core.v3");
            }
        }
    }
    pub mod service {
        pub mod auth {
            pub mod v3 {
                tonic::include_proto!("envoy.service.auth.v3");
            }
        }
    }
    pub mod r#type {
        pub mod v3 {
            tonic::include_proto!("envoy.r#type.v3");
        }
    }
}

/// The parts of Google's API that the others need.
pub mod google {
    pub mod api {
        tonic::include_proto!("google.api");
    }
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

// Messages that hold secrets print their name only.
include!(concat!(env!("OUT_DIR"), "/keyward.debug.rs"));

pub use keyward::v1;

/// Every file under `proto/` and what it imports, with comments and options, as an encoded
/// `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/keyward.bin"));
