//! Compiles the control messages' schema; no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/wzp.proto");
    let schema = protox::compile(["wzp.proto"], ["proto"])?;
    prost_build::compile_fds(schema)?;
    Ok(())
}
