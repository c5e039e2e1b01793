//! What goes over the wire and into the file: a list of byte strings, each after its length.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub(super) type Frame = Vec<Vec<u8>>;

/// The most parts of a frame, and the longest one.
const PARTS: u32 = 1024;
const LONGEST: u32 = 16 << 20;

pub(super) fn bytes(frame: &Frame) -> Vec<u8> {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = length(frame.len()).to_vec();
    for part in frame {
        bytes.extend(length(part.len()));
        bytes.extend(part);
    }
    bytes
}

pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> Result<()> {
    to.write_all(&bytes(frame)).await
}

pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Frame> {
    let limit = |found: u32, limit: u32| {
        if found > limit {
            let error = format!("expected at most {limit}, found {found}");
            return Err(Error::new(ErrorKind::InvalidData, error));
        }
        Ok(found)
    };
    let parts = limit(from.read_u32().await?, PARTS)?;
    let mut frame = Vec::new();
    for _ in 0..parts {
        let length = limit(from.read_u32().await?, LONGEST)?;
        let mut part = vec![0; length as usize];
        from.read_exact(&mut part).await?;
        frame.push(part);
    }
    Ok(frame)
}

/// A part as text; empty if it is not there.
pub(super) fn text(frame: &Frame, part: usize) -> String {
    let bytes = frame.get(part).map(Vec::as_slice).unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

/// A part as a number; 0 if it is none.
pub(super) fn number(frame: &Frame, part: usize) -> u64 {
    text(frame, part).parse().unwrap_or_default()
}
