//! ZooKeeper's encoding: numbers are big-endian, text and data have their length before them (-1 is none).

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A message that ended too early, or has something in it that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Writes a message.
#[derive(Default)]
pub(super) struct Writer(BytesMut);

// ===== impl Writer =====

impl Writer {
    pub(super) fn int(mut self, value: i32) -> Writer {
        self.0.put_i32(value);
        self
    }

    pub(super) fn long(mut self, value: i64) -> Writer {
        self.0.put_i64(value);
        self
    }

    pub(super) fn bool(mut self, value: bool) -> Writer {
        self.0.put_u8(value.into());
        self
    }

    /// Data, or text. What is longer than a length can say is refused by whoever frames the message, long before.
    pub(super) fn data(self, data: &[u8]) -> Writer {
        let mut written = self.int(i32::try_from(data.len()).unwrap_or(i32::MAX));
        written.0.put_slice(data);
        written
    }

    pub(super) fn text(self, text: &str) -> Writer {
        self.data(text.as_bytes())
    }

    pub(super) fn append(mut self, bytes: &[u8]) -> Writer {
        self.0.put_slice(bytes);
        self
    }

    pub(super) fn done(self) -> Bytes {
        self.0.freeze()
    }
}

/// Reads a message. Data are slices of it, so that no length makes it allocate.
#[derive(Clone, Debug)]
pub(super) struct Reader(Bytes);

// ===== impl Reader =====

impl Reader {
    pub(super) fn new(message: Bytes) -> Reader {
        Reader(message)
    }

    pub(super) fn int(&mut self) -> Result<i32, Malformed> {
        self.0.try_get_i32().map_err(|_| Malformed)
    }

    pub(super) fn long(&mut self) -> Result<i64, Malformed> {
        self.0.try_get_i64().map_err(|_| Malformed)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        self.0
            .try_get_u8()
            .map(|byte| byte != 0)
            .map_err(|_| Malformed)
    }

    pub(super) fn data(&mut self) -> Result<Bytes, Malformed> {
        match self.int()? {
            -1 => Ok(Bytes::new()),
            length => {
                let length = usize::try_from(length).map_err(|_| Malformed)?;
                if length > self.0.len() {
                    return Err(Malformed);
                }
                Ok(self.0.split_to(length))
            }
        }
    }

    /// Text. What is no UTF-8 becomes something that is, so that one odd name does not hide all others.
    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        let data = self.data()?;
        Ok(String::from_utf8_lossy(&data).into_owned())
    }

    /// A list of text. Each takes four bytes at least, so that the list is no longer than the message.
    pub(super) fn texts(&mut self) -> Result<Vec<String>, Malformed> {
        let count = match self.int()? {
            -1 => 0,
            count => usize::try_from(count).map_err(|_| Malformed)?,
        };
        if count > self.0.len() / 4 {
            return Err(Malformed);
        }
        (0..count).map(|_| self.text()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let written = Writer::default()
            .int(-101)
            .long(i64::MIN)
            .bool(true)
            .text("ä")
            .data(&[])
            .int(2)
            .text("a")
            .text("b")
            .done();
        let mut reader = Reader::new(written);
        assert_eq!(reader.int(), Ok(-101));
        assert_eq!(reader.long(), Ok(i64::MIN));
        assert_eq!(reader.bool(), Ok(true));
        assert_eq!(reader.text(), Ok("ä".to_owned()));
        assert_eq!(reader.data(), Ok(Bytes::new()));
        assert_eq!(reader.texts(), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(reader.bool(), Err(Malformed));
    }

    #[test]
    fn lengths_are_not_believed() {
        for length in [1, 5, i32::MAX, -2, i32::MIN] {
            let message = Writer::default().int(length).done();
            assert_eq!(
                Reader::new(message.clone()).data(),
                Err(Malformed),
                "{length}"
            );
            assert_eq!(Reader::new(message).texts(), Err(Malformed), "{length}");
        }
        let none = Writer::default().int(-1).int(-1).done();
        let mut reader = Reader::new(none);
        assert_eq!(reader.data(), Ok(Bytes::new()));
        assert_eq!(reader.texts(), Ok(Vec::new()));
        let odd = Writer::default().int(2).data(&[0xff]).text("a").done();
        let names = Reader::new(odd).texts().unwrap();
        assert_eq!(names, ["\u{fffd}", "a"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let reader = Reader::new(bytes.into());
            let _ = reader.clone().texts();
            let mut reader = reader;
            while reader.data().is_ok() && !reader.0.is_empty() {}
        }
    }
}
