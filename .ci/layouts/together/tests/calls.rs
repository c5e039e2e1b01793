//! What one crate generated calls what another one did, in-process.

use micro_runtime::prost::Message as _;
use micro_runtime::{Result, testing};

type Done = std::result::Result<(), Box<dyn std::error::Error>>;

#[tokio::test]
async fn a_client_alone_calls_a_server_alone() -> Done {
    use client::shop::v1::order::Line;
    use client::shop::v1::{Order, new_orders_service};

    let (server, client) = testing::pair();
    server::pb::register_orders_handler(&server, server::Shop)?;
    let orders = new_orders_service("shop", &client);
    let order = |id: &str| Order {
        id: id.into(),
        lines: vec![Line { article: "tea".into(), amount: 3 }],
        limit: None,
    };
    assert_eq!(orders.price(order("a")).await?.units, 15);

    let mut sent = orders.count().await?;
    for id in ["a", "b", "c"] {
        sent.send(order(id)).await?;
    }
    assert_eq!(sent.finish().await?.orders, 3);

    let mut twice = orders.twice(order("a")).await?;
    let mut received = Vec::new();
    while let Some(order) = twice.recv().await? {
        received.push(order);
    }
    assert_eq!(received, [order("a"), order("a")]);

    let (mut requests, mut replies) = orders.echo().await?;
    requests.send(order("e")).await?;
    assert_eq!(replies.recv().await?, Some(order("e")));
    requests.finish().await?;
    assert_eq!(replies.recv().await?, None);

    #[expect(deprecated, reason = "that is what the proto says of it")]
    let forget = orders.forget(());
    forget.await?;
    Ok(())
}

#[tokio::test]
async fn a_name_that_go_writes_otherwise_is_answered_both_ways() -> Done {
    let (server, client) = testing::pair();
    server::pb::register_orders_handler(&server, server::Shop)?;
    let names: Vec<String> = server.endpoints().into_iter().map(|endpoint| endpoint.name).collect();
    assert!(names.contains(&"Orders.SayHello".to_owned()), "{names:?}");
    for path in ["Orders.SayHello", "Orders.say_hello"] {
        let order = messages::shop::v1::Order { id: path.into(), ..Default::default() };
        let call = client.request("shop", path);
        let reply = call.bytes("application/grpc+proto", order.encode_to_vec()).await?;
        let reply = messages::shop::v1::Order::decode(reply)?;
        assert_eq!(reply.id, format!("Hello {path}"));
    }
    let orders = client::shop::v1::new_orders_service("shop", &client);
    let order = client::shop::v1::Order { id: "us".into(), ..Default::default() };
    assert_eq!(orders.say_hello(order).await?.id, "Hello us");
    Ok(())
}

#[tokio::test]
async fn stubs_take_the_messages_of_another_crate() -> Done {
    let (server, client) = testing::pair();
    server::pb::register_orders_handler(&server, server::Shop)?;
    let orders = stubs::shop::v1::new_orders_service("shop", &client);
    let order = messages::shop::v1::Order::default();
    let price: messages::shop::money::v1::Money = orders.price(order).await?;
    assert_eq!(price.units, 0);

    // They speak JSON, and know the messages' comments and fields, and the HTTP rule.
    let request = r#"{"lines": [{"article": "tea", "amount": 2}]}"#;
    let text: Result<messages::shop::v1::Order, _> = micro_runtime::json::from_str(request);
    assert_eq!(text?.lines[0].amount, 2);
    let endpoints = server.endpoints();
    let price = endpoints.iter().find(|endpoint| endpoint.name == "Orders.Price");
    let price = price.ok_or("it is not there")?;
    assert_eq!(price.metadata["description"], "Says what an order costs.");
    assert_eq!(price.metadata["request_description"], "What somebody wants.");
    assert_eq!(price.metadata["path"], "/v1/orders/{id}:price");
    let fields = price.request.as_ref().map_or(0, |request| request.values.len());
    assert_eq!(fields, 3);
    Ok(())
}

#[tokio::test]
async fn services_beside_messages_of_prost_build() -> Done {
    let (server, client) = testing::pair();
    server::pb::register_orders_handler(&server, server::Shop)?;
    let orders: own::OrdersClient = own::pb::new_orders_service("shop", &client);
    let order = own::pb::Order {
        id: "a".into(),
        lines: vec![own::pb::order::Line { article: "tea".into(), amount: 1 }],
    };
    assert_eq!(orders.price(order.clone()).await?.units, 5);
    let mut twice = orders.twice(order.clone()).await?;
    assert_eq!(twice.recv().await?, Some(order));
    // The package's own message kept its name.
    let _: own::pb::OrdersService = own::pb::OrdersService {};
    Ok(())
}

#[test]
fn descriptors_are_complete() -> Done {
    let set = prost_types::FileDescriptorSet::decode(server::pb::FILE_DESCRIPTOR_SET)?;
    let names: Vec<&str> = set.file.iter().map(|file| file.name()).collect();
    assert_eq!(
        names,
        [
            "google/api/annotations.proto",
            "google/api/http.proto",
            "google/protobuf/descriptor.proto",
            "google/protobuf/empty.proto",
            "shop/money/v1/money.proto",
            "shop/v1/shop.proto",
        ]
    );
    let import = |file: &prost_types::FileDescriptorProto| file.dependency.clone();
    let missing = set.file.iter().flat_map(import).filter(|name| !names.contains(&name.as_str()));
    assert_eq!(missing.count(), 0);
    Ok(())
}
