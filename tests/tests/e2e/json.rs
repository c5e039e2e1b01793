//! How servers and clients are told to write and read JSON.

use micro_runtime::client::ClientOptions;
use micro_runtime::json::{Options, TypeRegistry};
use micro_runtime::prost::Message;
use micro_runtime::prost_types::Any;
use micro_runtime::registry::Memory;
use micro_runtime::server::ServerOptions;
use micro_runtime::service::Running;
use micro_runtime::{Client, Code, Result, Status};
use micro_tests::mirror::Mirror;
use micro_tests::mirror::v1::{
    MirrorService, Shade, Thing, new_mirror_service, register_mirror_handler, register_types,
};

use crate::support::{client_with, in_time, service, unique};

/// A running `Mirror` with these options, its name, and a client of it.
async fn mirror(server: ServerOptions, client: ClientOptions) -> (Running, String, Client) {
    let (registry, name) = (Memory::new(), unique("mirror"));
    let service = service(&name, &registry)
        .server_options(server)
        .build()
        .unwrap();
    register_mirror_handler(service.server(), Mirror).unwrap();
    let running = service.start().await.unwrap();
    (running, name, client_with(&registry, client))
}

/// With these options on the server, what it says to a JSON text.
async fn reply(server: ServerOptions, text: &str) -> Result<String> {
    let (_running, name, client) = mirror(server, ClientOptions::new()).await;
    in_time(client.request(&name, "/mirror.v1.Mirror/One").json(text)).await
}

fn json(options: Options) -> ServerOptions {
    ServerOptions::new().json(options)
}

#[tokio::test]
async fn a_server_writes_names_of_the_proto_and_ignores_what_it_does_not_know() {
    let text = r#"{"displayName": "Tea", "shade": 1, "colour": "green", "count": 0}"#;
    let reply = reply(ServerOptions::new(), text).await.unwrap();
    assert_eq!(reply, r#"{"display_name":"Tea","shade":"SHADE_DARK"}"#);
}

#[tokio::test]
async fn a_server_writes_as_it_is_told() {
    let text = r#"{"display_name": "Tea", "shade": "SHADE_DARK"}"#;
    let camel_case = reply(json(Options::new()), text).await.unwrap();
    assert_eq!(camel_case, r#"{"displayName":"Tea","shade":"SHADE_DARK"}"#);

    let verbose = Options::new().emit_defaults(true).enums_as_numbers(true);
    assert_eq!(
        reply(json(verbose), text).await.unwrap(),
        r#"{"displayName":"Tea","shade":1,"count":0}"#
    );
}

#[tokio::test]
async fn a_server_refuses_unknown_fields_if_told() {
    let strict = json(Options::new().reject_unknown_fields(true));
    let text = r#"{"display_name": "Tea", "colour": "green"}"#;
    let status = reply(strict, text).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    let message = status.message();
    assert!(message.contains("colour: mirror.v1.Thing"), "{message}");
}

/// A thing that JSON can hold only if both sides know the type inside.
fn nested() -> Thing {
    let inner = Thing {
        display_name: "inside".to_owned(),
        ..Thing::default()
    };
    Thing {
        display_name: "outside".to_owned(),
        shade: Shade::Dark.into(),
        detail: Some(Any {
            type_url: "type.googleapis.com/mirror.v1.Thing".to_owned(),
            value: inner.encode_to_vec(),
        }),
        ..Thing::default()
    }
}

fn knowing() -> Options {
    let mut types = TypeRegistry::well_known();
    register_types(&mut types);
    Options::new().types(types)
}

/// Sends and gets the thing in every kind of call.
async fn every_kind(mirror: &MirrorService) -> Result<(), Status> {
    let thing = nested();
    assert_eq!(mirror.one(thing.clone()).await?, thing);
    let response = mirror.one(thing.clone()).with_response().await?;
    assert_eq!(response.into_message(), thing);

    let mut things = mirror.last().await?;
    things.send(thing.clone()).await?;
    assert_eq!(things.finish().await?, thing);

    let mut replies = mirror.twice(thing.clone()).await?;
    for _ in 0..2 {
        assert_eq!(replies.recv().await?, Some(thing.clone()));
    }
    assert_eq!(replies.recv().await?, None);

    let (mut things, mut replies) = mirror.each().await?;
    things.send(thing.clone()).await?;
    assert_eq!(replies.recv().await?, Some(thing));
    things.finish().await?;
    assert_eq!(replies.recv().await?, None);
    Ok(())
}

#[tokio::test]
async fn both_sides_use_their_options_in_every_kind_of_call() {
    let speaks_json = ClientOptions::new().content_type("application/json");
    let (_running, name, client) =
        mirror(json(knowing()), speaks_json.clone().json(knowing())).await;
    in_time(every_kind(&new_mirror_service(&name, &client)))
        .await
        .unwrap();

    // The options of one client are not those of its siblings, and come before the content type as well as after.
    let naive = client
        .with(ClientOptions::new().json(Options::new()))
        .unwrap();
    let status = in_time(new_mirror_service(&name, &naive).one(nested())).await;
    let status = status.unwrap_err();
    assert!(status.message().contains("mirror.v1.Thing"), "{status}");
    in_time(every_kind(&new_mirror_service(&name, &client)))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_know_a_type_says_so() {
    let speaks_json = ClientOptions::new()
        .json(knowing())
        .content_type("application/json");
    let (_running, name, client) = mirror(ServerOptions::new(), speaks_json).await;
    let status = in_time(new_mirror_service(&name, &client).one(nested())).await;
    let status = status.unwrap_err();
    let message = status.message();
    assert!(message.contains("TypeRegistry::register"), "{message}");
}
