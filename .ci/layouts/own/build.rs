//! A prost-build call of one's own, with our services.

fn main() -> std::io::Result<()> {
    prost_build::Config::new()
        .service_generator(protoc_gen_micro::service_generator())
        .compile_protos(&["proto/own.proto"], &["proto"])
}
