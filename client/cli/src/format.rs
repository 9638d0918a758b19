//! `--format`: how a record becomes text, in kcat's notation.

use std::io::{self, Write};
use std::str::FromStr;

use folio_client::Record;

/// A parsed format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Key,
    Value,
    Time,
    KeyLength,
    ValueLength,
    Headers,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            let piece = match character {
                '%' => field(&mut rest)?,
                '\\' => {
                    literal.push(escaped(&mut rest)?);
                    continue;
                }
                other => {
                    literal.extend(other.encode_utf8(&mut [0; 4]).bytes());
                    continue;
                }
            };
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self { pieces })
    }
}

/// What stands behind a `%`.
fn field(rest: &mut impl Iterator<Item = char>) -> Result<Piece, String> {
    Ok(match rest.next().ok_or("a format cannot end with %")? {
        '%' => Piece::Text(b"%".to_vec()),
        't' => Piece::Topic,
        'p' => Piece::Partition,
        'o' => Piece::Offset,
        'k' => Piece::Key,
        's' => Piece::Value,
        'T' => Piece::Time,
        'K' => Piece::KeyLength,
        'S' => Piece::ValueLength,
        'h' => Piece::Headers,
        unknown => return Err(format!("%{unknown} means nothing in a format")),
    })
}

/// What stands behind a `\`.
fn escaped(rest: &mut impl Iterator<Item = char>) -> Result<u8, String> {
    Ok(match rest.next().ok_or("a format cannot end with \\")? {
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        '0' => b'\0',
        '\\' => b'\\',
        'x' => {
            let mut digit = || rest.next().and_then(|digit| digit.to_digit(16));
            let (high, low) = digit().zip(digit()).ok_or("\\x needs two hexadecimal digits")?;
            u8::try_from(high * 16 + low).map_err(|error| error.to_string())?
        }
        unknown => return Err(format!("\\{unknown} means nothing in a format")),
    })
}

impl Format {
    /// Writes one record. What is missing (no key, no value) is nothing; its length is -1.
    pub(crate) fn write(
        &self,
        out: &mut impl Write,
        topic: &str,
        partition: u32,
        record: &Record<'_>,
    ) -> io::Result<()> {
        let length =
            |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX));
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.write_all(text)?,
                Piece::Topic => out.write_all(topic.as_bytes())?,
                Piece::Partition => write!(out, "{partition}")?,
                Piece::Offset => write!(out, "{}", record.offset.get())?,
                Piece::Key => out.write_all(record.key.unwrap_or_default())?,
                Piece::Value => out.write_all(record.value.unwrap_or_default())?,
                Piece::Time => write!(out, "{}", record.timestamp.get())?,
                Piece::KeyLength => write!(out, "{}", length(record.key))?,
                Piece::ValueLength => write!(out, "{}", length(record.value))?,
                Piece::Headers => {
                    for (number, header) in record.headers.enumerate() {
                        let comma = if number == 0 { "" } else { "," };
                        write!(out, "{comma}{}=", String::from_utf8_lossy(header.key))?;
                        out.write_all(header.value.unwrap_or_default())?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_nothing_is_refused() {
        assert_eq!("%x".parse::<Format>().unwrap_err(), "%x means nothing in a format");
        assert_eq!("a%".parse::<Format>().unwrap_err(), "a format cannot end with %");
        assert_eq!("\\x1g".parse::<Format>().unwrap_err(), "\\x needs two hexadecimal digits");
        assert_eq!("\\q".parse::<Format>().unwrap_err(), "\\q means nothing in a format");
    }

    #[test]
    fn bytes_that_cannot_be_typed_can_be_written() {
        let format: Format = "\\r\\0\\x1e\\\\".parse().unwrap();
        assert_eq!(format.pieces, [Piece::Text(b"\r\0\x1e\\".to_vec())]);
    }

    #[test]
    fn text_and_fields_alternate() {
        let format: Format = "100%% %p:%o\\t%s\\n".parse().unwrap();
        let text = |text: &str| Piece::Text(text.as_bytes().to_vec());
        let pieces = vec![
            text("100"),
            text("%"),
            text(" "),
            Piece::Partition,
            text(":"),
            Piece::Offset,
            text("\t"),
            Piece::Value,
            text("\n"),
        ];
        assert_eq!(format.pieces, pieces);
    }
}
