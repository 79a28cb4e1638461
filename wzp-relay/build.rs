//! Tells the program its commit and its features.

fn main() {
    wzp_build::tell();
}
