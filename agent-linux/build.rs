//! Places what an idle client runs together in the program, where the build asks for it
//! (`.ci/static`): so it keeps few pages resident.

use std::path::Path;

fn main() {
    let order = Path::new(env!("CARGO_MANIFEST_DIR")).join("idle/order.ld");
    println!("cargo:rerun-if-env-changed=REEVE_IDLE_ORDER");
    println!("cargo:rerun-if-changed={}", order.display());
    if std::env::var_os("REEVE_IDLE_ORDER").is_some() {
        println!("cargo:rustc-link-arg-bin=reeve=-Wl,-T,{}", order.display());
    }
}
