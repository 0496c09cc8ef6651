//! Protocol Buffers on the wire: reading fields in place, writing messages into one buffer.
//!
//! Stock decoding builds a map of owned strings for each request; a decision needs a few slices of
//! the bytes that have arrived anyway. The encoding is that of
//! <https://protobuf.dev/programming-guides/encoding/>.

/// The bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;

/// Reads the fields of one message, borrowing from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Wire type 0: integers, booleans, enums.
    Varint(u64),
    /// Wire type 2: strings, bytes, messages.
    Bytes(&'a [u8]),
    /// Wire types 1 and 5: fixed-width numbers, which no field that we read has.
    Fixed,
}

impl<'a> Reader<'a> {
    /// Reads this message.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The next field's number and value; `None` at the end of the message.
    ///
    /// # Errors
    /// The bytes end within a field, or are no fields. Groups, which no message of Envoy's has,
    /// count as such.
    pub fn field(&mut self) -> Result<Option<(u32, Value<'a>)>, Undecodable> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_overflow| Undecodable)?;
        let number = key >> 3;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.skip(8)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_overflow| Undecodable)?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.skip(4)?,
            _ => return Err(Undecodable),
        };
        if number == 0 { Err(Undecodable) } else { Ok(Some((number, value))) }
    }

    fn varint(&mut self) -> Result<u64, Undecodable> {
        // Nearly every key and length is below 128.
        if let [byte @ ..0x80, rest @ ..] = self.bytes {
            self.bytes = rest;
            return Ok(u64::from(*byte));
        }
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = *self.take(1)? else { return Err(Undecodable) };
            if shift == 63 && byte > 1 {
                return Err(Undecodable);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Undecodable)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Undecodable> {
        let (head, tail) = self.bytes.split_at_checked(length).ok_or(Undecodable)?;
        self.bytes = tail;
        Ok(head)
    }

    fn skip(&mut self, length: usize) -> Result<Value<'a>, Undecodable> {
        self.take(length)?;
        Ok(Value::Fixed)
    }
}

/// Writes a message, nested ones in place.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty message with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    /// A string or bytes field.
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.varint(u64::from(field << 3 | 2));
        self.varint(u64::try_from(value.len()).unwrap_or(u64::MAX));
        self.bytes.extend_from_slice(value);
    }

    /// A string field.
    pub fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    /// An integer, boolean or enum field.
    pub fn number(&mut self, field: u32, value: u64) {
        self.varint(u64::from(field << 3));
        self.varint(value);
    }

    /// A message field, with what `write` puts into it.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.varint(u64::from(field << 3 | 2));
        // The length stands before what it counts. Most messages are so short that it takes the one
        // byte that is kept for it here; the others move by what it takes more.
        let start = self.bytes.len();
        self.bytes.push(0);
        write(self);
        let length = self.bytes.len() - start - 1;
        if let (Ok(short @ ..0x80), Some(kept)) = (u8::try_from(length), self.bytes.get_mut(start))
        {
            *kept = short;
        } else {
            let mut long = Self::default();
            long.varint(u64::try_from(length).unwrap_or(u64::MAX));
            self.bytes.splice(start..=start, long.bytes);
        }
    }

    /// The encoded message.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn varint(&mut self, mut value: u64) {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                self.bytes.push(low & 0x7f);
                return;
            }
            self.bytes.push(low | 0x80);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Undecodable> {
        let mut reader = Reader::new(bytes);
        let mut all = Vec::new();
        while let Some(field) = reader.field()? {
            all.push(field);
        }
        Ok(all)
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let cases: [&[u8]; 8] = [
            b"\x0a",                                         // a length is missing
            b"\x0a\x05abc",                                  // three bytes of five
            b"\x08",                                         // a number is missing
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", // more than 64 bits
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x00\x01", // field number 0
            b"\x0b",     // a group
            b"\x09abc",  // three bytes of eight
        ];
        for bytes in cases {
            assert_eq!(fields(bytes), Err(Undecodable), "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            field in 1_u32..(1 << 28), number: u64, text in prop::collection::vec(any::<u8>(), 0..300)
        ) {
            let mut writer = Writer::default();
            writer.number(field, number);
            writer.message(field, |inner| {
                inner.bytes(field, &text);
                inner.message(1, |_| {});
            });
            let bytes = writer.finish();
            let outer = fields(&bytes).unwrap();
            prop_assert_eq!(outer[0], (field, Value::Varint(number)));
            let Value::Bytes(inner) = outer[1].1 else { panic!("not a message") };
            prop_assert_eq!(fields(inner).unwrap(), [(field, Value::Bytes(&text)), (1, Value::Bytes(&[]))]);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            prop_assert!(fields(&bytes).map_or(0, |fields| fields.len()) <= bytes.len());
        }
    }
}
