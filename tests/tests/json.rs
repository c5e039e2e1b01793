mod proto {
    include!(concat!(env!("OUT_DIR"), "/_json.rs"));
}
#[test]
fn a() {
    println!(
        "{}",
        micro_runtime::json::to_string(&proto::json_test::v1::Names::default()).unwrap()
    );
}
