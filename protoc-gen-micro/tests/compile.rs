//! The goldens compile, in a crate that denies what a strict one would, and without a single warning.

#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    rust_2018_idioms,
    clippy::all,
    clippy::pedantic
)]
// The goldens' own modules are written here, below; what is inside is not.
#![allow(missing_docs)]

#[deny(missing_docs)]
mod hello {
    include!("goldens/hello/_.rs");
}

#[deny(missing_docs)]
pub mod golden {
    //! The package that the goldens are in.

    pub mod kinds {
        //! All kinds of rpcs.
        include!("goldens/kinds/golden.kinds.rs");
    }
    pub mod nested {
        //! Types in types.
        include!("goldens/nested/golden.nested.rs");
    }
    pub mod well_known {
        //! Types of `google.protobuf`.
        include!("goldens/well_known/golden.well_known.rs");
    }
    pub mod r#type {
        //! A keyword.
        pub mod r {
            //! Names that meet those of generated code.
            include!("goldens/names/golden.type.r.rs");
        }
    }
    pub mod clash {
        //! Services and messages of one name.
        include!("goldens/clash/golden.clash.rs");
    }
    pub mod proto2 {
        //! The old syntax.
        include!("goldens/proto2/golden.proto2.rs");
    }
    pub mod editions {
        //! Features.
        include!("goldens/editions/golden.editions.rs");
    }
    pub mod elsewhere {
        //! Messages from elsewhere.
        include!("goldens/elsewhere/golden.elsewhere.rs");
    }
    pub mod client_only {
        //! Without handlers and without JSON.
        include!("goldens/client_only/golden.client_only.rs");
    }
    pub mod server_only {
        //! Without clients.
        include!("goldens/server_only/golden.server_only.rs");
    }
    pub mod http {
        //! With `google.api.http`.
        include!("goldens/http/golden.http.rs");
    }
    pub mod deprecated {
        //! What should not be used any more.
        include!("goldens/deprecated/golden.deprecated.rs");
    }
    pub mod gone {
        //! In a file that is deprecated.
        include!("goldens/deprecated/golden.gone.rs");
    }
    pub mod user {
        //! Refers to it.
        include!("goldens/deprecated/golden.user.rs");
    }
    pub mod options {
        //! With options.
        include!("goldens/options/golden.options.rs");
    }
}

pub mod packages {
    //! Several packages, by their include file.
    include!("goldens/packages/mod.rs");
}

pub mod empty {
    //! Nothing much, in folders.
    include!("goldens/empty/all.rs");
}

pub mod ext {
    //! What others refer to.
    pub mod v1 {
        //! With our JSON.
        include!("goldens/ext/ext.v1.rs");
    }
}

pub mod plain {
    //! What others refer to.
    pub mod v1 {
        //! Taken to be without it.
        include!("goldens/ext/plain.v1.rs");
    }
}

pub mod stub_messages {
    //! The messages that stubs are made for.
    pub mod golden {
        //! A package.
        pub mod stubs {
            //! Messages that something else generated.
            #[derive(Clone, PartialEq, micro_runtime::prost::Message)]
            #[prost(prost_path = "::micro_runtime::prost")]
            pub struct Request {}

            #[derive(Clone, PartialEq, micro_runtime::prost::Message)]
            #[prost(prost_path = "::micro_runtime::prost")]
            pub struct Reply {}

            pub mod reply {
                //! Inside of `Reply`.
                #[derive(Clone, PartialEq, micro_runtime::prost::Message)]
                #[prost(prost_path = "::micro_runtime::prost")]
                pub struct Inner {}
            }
        }
    }
}

pub mod stubs {
    //! Services over another module's messages.
    include!("goldens/stubs/golden.stubs.rs");
}

#[allow(
    clippy::pedantic,
    reason = "it is the goldens that have to be so strict"
)]
mod tests {
    use std::sync::Arc;

    use micro_runtime::method::{HttpRule, Idempotency, MethodInfo, MethodKind, Shape};
    use micro_runtime::prost::Message;
    use micro_runtime::{Context, Inbound, Outbound, Result, Status};

    use super::golden::{http, kinds, nested, options, r#type::r, well_known};

    fn shape(shape: &Shape) -> String {
        let fields: Vec<String> = shape.fields.iter().map(self::shape).collect();
        format!("{}:{}{{{}}}", shape.name, shape.kind, fields.join(" "))
    }

    #[test]
    fn descriptors_say_what_the_proto_says() {
        let infos: [&MethodInfo; 6] = [
            kinds::__kinds::UNARY.info(),
            kinds::__kinds::COLLECT.info(),
            kinds::__kinds::COUNT.info(),
            kinds::__kinds::CHAT.info(),
            kinds::__kinds::OLD.info(),
            kinds::__kinds::SAY_HELLO.info(),
        ];
        let found = infos.map(|info| {
            (
                info.kind(),
                info.path(),
                info.endpoint(),
                info.idempotency(),
                info.is_deprecated(),
            )
        });
        let (unary, unknown) = (MethodKind::Unary, Idempotency::Unknown);
        assert_eq!(
            found,
            [
                (
                    unary,
                    "/golden.kinds.Kinds/Unary",
                    "Kinds.Unary",
                    Idempotency::NoSideEffects,
                    false
                ),
                (
                    MethodKind::ClientStreaming,
                    "/golden.kinds.Kinds/Collect",
                    "Kinds.Collect",
                    Idempotency::Idempotent,
                    false
                ),
                (
                    MethodKind::ServerStreaming,
                    "/golden.kinds.Kinds/Count",
                    "Kinds.Count",
                    unknown,
                    false
                ),
                (
                    MethodKind::Bidi,
                    "/golden.kinds.Kinds/Chat",
                    "Kinds.Chat",
                    unknown,
                    false
                ),
                (unary, "/golden.kinds.Kinds/Old", "Kinds.Old", unknown, true),
                (
                    unary,
                    "/golden.kinds.Kinds/say_hello",
                    "Kinds.SayHello",
                    unknown,
                    false
                ),
            ]
        );
        assert_eq!(infos[0].service(), "golden.kinds.Kinds");
        assert_eq!(
            infos[0].comment(),
            "One request, one reply.\nSee https://example.com/unary for more."
        );
        assert_eq!(infos[3].comment(), "");
        assert_eq!(infos[5].name(), "say_hello");
    }

    #[test]
    fn descriptors_have_the_http_rules_that_can_be_used() {
        let rules = |info: &MethodInfo| -> Vec<String> {
            let text = |rule: &HttpRule| {
                let HttpRule {
                    method,
                    path,
                    body,
                    response_body,
                    ..
                } = rule;
                format!("{method} {path} {body:?} {response_body:?}")
            };
            info.http().iter().map(text).collect()
        };
        assert_eq!(
            rules(http::__orders::GET.info()),
            [
                r#"GET /v1/{name=orders/*} "" """#,
                r#"GET /v1/{name=archive/**} "" """#
            ]
        );
        assert_eq!(
            rules(http::__orders::PLACE.info()),
            [
                r#"POST /v1/{order.name=orders/*}:place "order" "order""#,
                r#"PUT /v1/orders "*" """#,
                r#"HEAD /v1/orders "" """#,
            ]
        );
        let delete = http::__orders::DELETE.info();
        assert_eq!(rules(delete), [r#"DELETE /v1/{name=orders/*} "" """#]);
        assert_eq!(http::__orders::WRONG.info().http(), []);
        assert_eq!(http::__orders::PLAIN.info().http(), []);
        assert_eq!(delete.request().comment, "Which order.");
        // Those of well-known types are about the type, not about the rpc.
        assert_eq!(delete.response().comment, "");
    }

    #[test]
    fn shapes_have_three_levels_and_the_types_of_go() {
        let order = shape(nested::__store::PUT.info().request());
        let line = |name: &str, kind: &str| {
            format!(
                "{name}:{kind}{{name:string{{}} amount:int64{{}} instead:Order_Line{{}} parts:[]Order_Line{{}}}}"
            )
        };
        let level_2 = "id:string{} lines:[]Order_Line{} state:Order_State{} note:string{} wanted:Order_State{} \
                       by_name:{} states:{} numbers:[]uint32{} card:string{} barter:Order_Line{} \
                       credit:Order_State{} part_of:Order{} paper:Order_Receipt{} number:uint64{}";
        let receipt =
            "signature:[]uint8{} state:Order_State{} deepest:Order_Receipt_Deeper_Deepest{}";
        assert_eq!(
            order,
            format!(
                "Order:Order{{id:string{{}} lines:[]Order_Line{{}} state:Order_State{{}} note:string{{}} \
                 wanted:Order_State{{}} by_name:{{}} states:{{}} numbers:[]uint32{{}} card:string{{}} {} \
                 credit:Order_State{{}} part_of:Order{{{level_2}}} paper:Order_Receipt{{{receipt}}} \
                 number:uint64{{}}}}",
                line("barter", "Order_Line"),
            )
        );
        assert_eq!(
            shape(well_known::__clock::NOW.info().response()),
            "Timestamp:Timestamp{seconds:int64{} nanos:int32{}}"
        );
    }

    #[test]
    fn repeated_scalars_with_options_are_packed() {
        #[expect(deprecated, reason = "that is the option")]
        let order = nested::Order {
            numbers: vec![1, 2],
            ..nested::Order::default()
        };
        // Field 8, length-delimited: two numbers of four bytes.
        assert_eq!(order.encode_to_vec(), [0x42, 8, 1, 0, 0, 0, 2, 0, 0, 0]);
    }

    #[test]
    fn the_descriptor_set_holds_the_package_without_positions() {
        let set =
            micro_runtime::prost_types::FileDescriptorSet::decode(options::FILE_DESCRIPTOR_SET);
        let files = set.map(|set| set.file).unwrap_or_default();
        let names: Vec<&str> = files.iter().map(|file| file.name()).collect();
        assert_eq!(names, ["options.proto"]);
        let messages: Vec<&str> = files[0]
            .message_type
            .iter()
            .map(|message| message.name())
            .collect();
        assert_eq!(messages, ["Sample", "Plain"]);
        assert_eq!(files[0].source_code_info, None);
    }

    #[test]
    fn ordered_maps_keep_their_debug() {
        let mut sample = options::Sample::default();
        sample.counts.insert("b".into(), 2);
        sample.counts.insert("a".into(), 1);
        assert!(format!("{sample:?}").starts_with("Sample { counts: {\"a\": 1, \"b\": 2}, "));
    }

    struct Handler;

    impl kinds::KindsHandler for Handler {
        async fn unary(&self, _ctx: Context, req: kinds::Request) -> Result<kinds::Reply> {
            Ok(kinds::Reply { number: req.count })
        }

        async fn collect(
            &self,
            _ctx: Context,
            mut requests: Inbound<kinds::Request>,
        ) -> Result<kinds::Reply> {
            let mut number = 0;
            while let Some(request) = requests.recv().await? {
                number += request.count;
            }
            Ok(kinds::Reply { number })
        }

        async fn count(
            &self,
            _ctx: Context,
            req: kinds::Request,
            mut responses: Outbound<kinds::Reply>,
        ) -> Result<()> {
            for number in 0..req.count {
                responses.send(kinds::Reply { number }).await?;
            }
            Ok(())
        }

        async fn chat(
            &self,
            _ctx: Context,
            mut requests: Inbound<kinds::Request>,
            mut responses: Outbound<kinds::Reply>,
        ) -> Result<()> {
            while let Some(request) = requests.recv().await? {
                responses
                    .send(kinds::Reply {
                        number: request.count,
                    })
                    .await?;
            }
            Ok(())
        }

        async fn old(&self, _ctx: Context, _req: kinds::Request) -> Result<kinds::Reply> {
            Err(Status::unimplemented("not any more"))
        }

        async fn say_hello(&self, _ctx: Context, _req: kinds::Request) -> Result<kinds::Reply> {
            Ok(kinds::Reply::default())
        }
    }

    #[test]
    fn handlers_are_plain_async_functions_and_can_be_shared() {
        fn is_handler<H: kinds::KindsHandler>(_: &H) {}
        is_handler(&Handler);
        is_handler(&Arc::new(Handler));
    }

    #[test]
    fn clients_clone_whatever_their_rpcs_are_called() {
        fn cloned<T: Clone + std::fmt::Debug>(value: &T) -> T {
            // `value.clone()` of `r::SelfService` is its rpc.
            Clone::clone(value)
        }
        let _: fn(&r::SelfService) -> r::SelfService = cloned::<r::SelfService>;
    }
}
