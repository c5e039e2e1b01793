//! What the suite asks, answered with generated code.

use std::collections::HashMap;

use micro_runtime::json::{JsonMessage, Options, TypeRegistry};
use micro_runtime::prost::Message;

use self::proto::conformance::conformance_request::Payload;
use self::proto::conformance::conformance_response::Result as Outcome;
use self::proto::conformance::{
    ConformanceRequest, ConformanceResponse, FailureSet, TestCategory, WireFormat,
};
use self::proto::protobuf_test_messages as messages;

#[allow(missing_docs, unreachable_pub)]
pub(crate) mod proto {
    micro_runtime::include_proto!();
}

/// Reads and writes one kind of message.
type Transcode = fn(&Testee, &ConformanceRequest, &Payload) -> Outcome;

/// Answers questions.
pub(crate) struct Testee {
    options: Options,
    messages: HashMap<&'static str, Transcode>,
}

// ===== impl Testee =====

impl Testee {
    pub(crate) fn new() -> Testee {
        let mut types = TypeRegistry::well_known();
        messages::editions::register_types(&mut types);
        messages::editions::proto2::register_types(&mut types);
        messages::editions::proto3::register_types(&mut types);
        messages::proto2::register_types(&mut types);
        messages::proto3::register_types(&mut types);
        let mut testee = Testee {
            options: Options::new().types(types),
            messages: HashMap::new(),
        };
        testee.add::<messages::editions::TestAllTypesEdition2023>();
        testee.add::<messages::editions::proto2::TestAllTypesProto2>();
        testee.add::<messages::editions::proto3::TestAllTypesProto3>();
        testee.add::<messages::proto2::TestAllTypesProto2>();
        testee.add::<messages::proto3::TestAllTypesProto3>();
        testee
    }

    fn add<M: Message + JsonMessage>(&mut self) {
        self.messages.insert(M::NAME, transcode::<M>);
    }

    /// The answer to a question.
    pub(crate) fn answer(&self, request: &ConformanceRequest) -> ConformanceResponse {
        ConformanceResponse {
            result: Some(self.outcome(request)),
        }
    }

    fn outcome(&self, request: &ConformanceRequest) -> Outcome {
        let Some(payload) = &request.payload else {
            return Outcome::RuntimeError("expected a payload, found none".to_owned());
        };
        let text = WireFormat::TextFormat;
        if matches!(payload, Payload::TextPayload(_)) || request.requested_output_format() == text {
            return Outcome::Skipped("text format".to_owned());
        }
        let jspb = WireFormat::Jspb;
        if matches!(payload, Payload::JspbPayload(_)) || request.requested_output_format() == jspb {
            return Outcome::Skipped("JSPB".to_owned());
        }
        // The suite's first question: which cases are known to fail, beyond those in its own list. None.
        if request.message_type == "conformance.FailureSet" {
            return Outcome::ProtobufPayload(FailureSet::default().encode_to_vec());
        }
        match self.messages.get(request.message_type.as_str()) {
            Some(transcode) => transcode(self, request, payload),
            None => Outcome::RuntimeError(format!(
                "expected a message of the suite, found {:?}",
                request.message_type
            )),
        }
    }
}

fn transcode<M: Message + JsonMessage>(
    testee: &Testee,
    request: &ConformanceRequest,
    payload: &Payload,
) -> Outcome {
    let read = match payload {
        Payload::ProtobufPayload(bytes) => M::decode(bytes.as_slice()).map_err(|e| e.to_string()),
        Payload::JsonPayload(text) => {
            let ignore = request.test_category() == TestCategory::JsonIgnoreUnknownParsingTest;
            let options = testee.options.clone().reject_unknown_fields(!ignore);
            options.from_str::<M>(text).map_err(|e| e.to_string())
        }
        Payload::JspbPayload(_) | Payload::TextPayload(_) => Err("not supported".to_owned()),
    };
    let message = match read {
        Ok(message) => message,
        Err(error) => return Outcome::ParseError(error),
    };
    match request.requested_output_format() {
        WireFormat::Protobuf => Outcome::ProtobufPayload(message.encode_to_vec()),
        WireFormat::Json => match testee.options.to_string(&message) {
            Ok(text) => Outcome::JsonPayload(text),
            Err(error) => Outcome::SerializeError(error.to_string()),
        },
        other => Outcome::RuntimeError(format!("expected protobuf or JSON, found {other:?}")),
    }
}
