//! The suite's frames: the length in four bytes, the least first, then a message.

use std::io::{Error, ErrorKind, Read, Result, Write};

use micro_runtime::prost::Message as _;

use crate::answer::Testee;
use crate::answer::proto::conformance::ConformanceRequest;

/// Answers until the suite closes its end.
pub(crate) fn serve(mut requests: impl Read, mut answers: impl Write) -> Result<()> {
    let testee = Testee::new();
    while let Some(frame) = read(&mut requests)? {
        let request = ConformanceRequest::decode(frame.as_slice())
            .map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
        let answer = testee.answer(&request).encode_to_vec();
        let length = u32::try_from(answer.len())
            .map_err(|_| Error::new(ErrorKind::InvalidData, "an answer of more than 4 GiB"))?;
        answers.write_all(&length.to_le_bytes())?;
        answers.write_all(&answer)?;
        answers.flush()?;
    }
    Ok(())
}

/// One frame; none at the end.
fn read(requests: &mut impl Read) -> Result<Option<Vec<u8>>> {
    let mut prefix = Vec::with_capacity(4);
    requests.take(4).read_to_end(&mut prefix)?;
    if prefix.is_empty() {
        return Ok(None);
    }
    let prefix = <[u8; 4]>::try_from(prefix)
        .map_err(|_| Error::new(ErrorKind::UnexpectedEof, "a frame's length ends too early"))?;
    let length = u32::from_le_bytes(prefix);
    let mut frame = Vec::new();
    requests.take(u64::from(length)).read_to_end(&mut frame)?;
    if frame.len() as u64 != u64::from(length) {
        return Err(Error::new(
            ErrorKind::UnexpectedEof,
            format!("expected a frame of {length} bytes, found {}", frame.len()),
        ));
    }
    Ok(Some(frame))
}
