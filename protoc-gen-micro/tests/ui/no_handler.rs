use greeter::{register_greeter_handler};
use micro_runtime::Server;

mod greeter {
    include!("greeter.rs");
}

struct Greeter;

fn main() {
    let _ = |server: &Server| register_greeter_handler(server, Greeter);
}
