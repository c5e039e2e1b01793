//! A node that tests can kill: serves `Front` until SIGTERM, or cuts everything when its stdin ends: whoever
//! started it is gone then.
//!
//! Arguments: the service's name, the address to listen on, and `mdns` or `none` for the registry. When it
//! serves, it prints its address.

use std::time::Duration;

use micro_runtime::registry::{Mdns, Memory};
use micro_runtime::{Context, Error, ErrorKind, Service};
use micro_tests::front::{self, v1::Question};

trait OrFailed<T> {
    fn or_failed(self) -> Result<T, Error>;
}

impl<T> OrFailed<T> for std::io::Result<T> {
    fn or_failed(self) -> Result<T, Error> {
        self.map_err(|error| Error::new(ErrorKind::Config, error))
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| {
        let missing = || Error::new(ErrorKind::Config, format_args!("expected {what}"));
        arguments.next().ok_or_else(missing)
    };
    let name = next("the name of the service")?;
    let listener = std::net::TcpListener::bind(next("an address")?).or_failed()?;
    let address = listener.local_addr().or_failed()?;
    let builder = Service::new(name).listener(listener);
    let builder = match next("mdns or none")?.as_str() {
        "mdns" => builder.registry(Mdns::new().loopback_only()),
        _ => builder.registry(Memory::new()),
    };
    let service = builder
        .after_start(move || {
            println!("{address}");
            std::future::ready(Ok(()))
        })
        .build()?;
    front::register(
        service.server(),
        |_: Context, question: Question| async move {
            let millis = u64::try_from(question.millis).unwrap_or_default();
            if millis > 0 {
                tokio::time::sleep(Duration::from_millis(millis)).await;
            }
            Ok(front::answer(std::process::id().to_string()))
        },
    )?;
    // In a thread of its own: a read of stdin cannot be given up, and would hold the runtime up at its end.
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(1);
    });
    service.run().await
}
