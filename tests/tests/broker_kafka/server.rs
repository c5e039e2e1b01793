//! A Kafka server.

use std::time::Duration;

use micro_runtime::Deadline;
use micro_runtime::broker::{Broker, Delivery, Kafka, Message};
use micro_tests::proxy::Proxy;
use micro_tests::servers::{Program, Ready, Server, free_ports};

pub(crate) struct Cluster {
    /// Ends with this.
    _server: Server,
    pub(crate) port: u16,
}

impl Cluster {
    /// One with these further lines of configuration.
    pub(crate) async fn start(further: &[String]) -> Cluster {
        let ports = free_ports();
        Cluster {
            _server: program(ports, further).start(ready(ports[0])).await,
            port: ports[0],
        }
    }

    /// One whose clients all come by a proxy.
    pub(crate) async fn behind_a_proxy(further: &[String]) -> (Cluster, Proxy) {
        let ports = free_ports();
        let proxy = Proxy::to(format!("127.0.0.1:{}", ports[0])).await;
        // Clients go where the server says it is.
        let advertised = format!(
            "advertised.listeners=PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{}",
            proxy.port(),
            ports[1]
        );
        let lines: Vec<_> = [advertised].into_iter().chain(further.to_vec()).collect();
        let cluster = Cluster {
            _server: program(ports, &lines).start(ready(ports[0])).await,
            port: ports[0],
        };
        (cluster, proxy)
    }

    pub(crate) fn broker(&self) -> Kafka {
        Kafka::new([format!("127.0.0.1:{}", self.port)])
    }
}

pub(crate) fn program([port, controller]: [u16; 2], further: &[String]) -> Program {
    Program::find("kafka")
        .args([port.to_string(), controller.to_string()])
        .arg("{dir}/kafka")
        .args(further)
}

/// It takes an event.
pub(crate) fn ready(port: u16) -> Ready {
    Ready::check(move || async move {
        let broker = Kafka::new([format!("127.0.0.1:{port}")]).partitions(1);
        let deadline = Deadline::after(Duration::from_secs(4));
        let sent = broker.publish(Message::new("ready", "x"), Delivery::AtLeastOnce, deadline);
        sent.await.is_ok()
    })
}

/// Appends a value as it is: what any other program may have written.
pub(crate) async fn produce(port: u16, topic: &str, value: &str) {
    use rdkafka::ClientConfig;
    use rdkafka::producer::{FutureProducer, FutureRecord};

    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", format!("127.0.0.1:{port}"))
        .create()
        .unwrap();
    let record = FutureRecord::<str, str>::to(topic).payload(value);
    producer
        .send(record, Duration::from_secs(10))
        .await
        .unwrap();
    // Its drop waits for a thread.
    tokio::task::spawn_blocking(move || drop(producer))
        .await
        .unwrap();
}
