//! Whether the server keeps what it confirms.

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use tracing::{debug, warn};

/// Warns where what was confirmed may be lost: that is the server's setting, and its operator's choice.
pub(super) async fn warn_if_not(mut connection: MultiplexedConnection, addresses: &str) {
    match setting(&mut connection, "appendonly").await {
        Ok(Some(value)) if value == "no" => warn!(
            servers = addresses,
            "redis has appendonly no: events that it has confirmed are lost when it crashes; at least once needs appendonly yes, and appendfsync always if no crash may lose any"
        ),
        Ok(_) => {}
        // Hosted servers do not tell.
        Err(error) => debug!(%error, "redis does not tell whether it keeps its data"),
    }
    if let Ok(Some(value)) = setting(&mut connection, "maxmemory-policy").await
        && value.starts_with("allkeys-")
    {
        warn!(
            servers = addresses,
            policy = value,
            "redis may evict whole streams of events when its memory is full; at least once needs maxmemory-policy noeviction or one of volatile-*"
        );
    }
}

async fn setting(
    connection: &mut MultiplexedConnection,
    name: &str,
) -> RedisResult<Option<String>> {
    let answer: Value = redis::cmd("CONFIG")
        .arg("GET")
        .arg(name)
        .query_async(connection)
        .await?;
    Ok(match answer {
        Value::Array(mut pair) => match pair.pop() {
            Some(Value::BulkString(value)) => String::from_utf8(value).ok(),
            _ => None,
        },
        _ => None,
    })
}
