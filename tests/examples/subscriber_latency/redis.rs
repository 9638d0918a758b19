//! Redis streams, by hand.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Contender, Outcome, Receiver, Sender};

/// A Redis server. Dropped, it is killed.
pub(super) struct Redis {
    child: Child,
    address: String,
    version: String,
    rounds: usize,
    _dir: tempfile::TempDir,
}

impl Redis {
    /// `None`: there is none on this machine.
    pub(super) fn start() -> Outcome<Option<Self>> {
        let program = std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let version = match Command::new(&program).arg("--version").output() {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let version = version.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("?");
        let dir = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(program)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "no"])
            .args(["--port", &port.to_string(), "--dir"])
            .arg(dir.path())
            .stdout(Stdio::null())
            .spawn()?;
        let address = format!("127.0.0.1:{port}");
        let redis = Self { child, address, version: version.to_owned(), rounds: 0, _dir: dir };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(&redis.address).is_err() {
            if Instant::now() > deadline {
                return Err("redis-server does not listen".into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Some(redis))
    }

    fn open(&self) -> Outcome<BufReader<TcpStream>> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(super::LIMIT))?;
        Ok(BufReader::with_capacity(256 << 10, stream))
    }
}

impl Contender for Redis {
    fn name(&self) -> String {
        format!("Redis {} streams, append-only file", self.version)
    }

    fn connect(&mut self) -> Outcome<(Sender, Receiver)> {
        self.rounds += 1;
        let stream = format!("latency-{}", self.rounds);
        let (mut producer, mut subscriber) = (self.open()?, self.open()?);
        let (name, mut last) = (stream.clone(), b"0-0".to_vec());
        let send: Sender = Box::new(move |number| {
            let value = super::value(number);
            let request = command(&[b"XADD", stream.as_bytes(), b"*", b"v", &value]);
            producer.get_mut().write_all(&request)?;
            reply(&mut producer)?;
            Ok(())
        });
        let receive: Receiver = Box::new(move |take| {
            let request = command(&[b"XREAD", b"BLOCK", b"0", b"STREAMS", name.as_bytes(), &last]);
            subscriber.get_mut().write_all(&request)?;
            // [[name, [[id, [field, value]], ...]]]
            let streams = reply(&mut subscriber)?.list()?;
            let entries = streams.into_iter().next().ok_or("no stream")?.list()?.pop().ok_or("no entries")?;
            for entry in entries.list()? {
                let [id, fields] =
                    <[Reply; 2]>::try_from(entry.list()?).map_err(|_| "an entry has two parts")?;
                let value = fields.list()?.pop().ok_or("no value")?.bytes()?;
                take(super::number_in(&value)?);
                last = id.bytes()?;
            }
            Ok(())
        });
        Ok((send, receive))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

enum Reply {
    Bytes(Vec<u8>),
    List(Vec<Reply>),
}

impl Reply {
    fn list(self) -> Outcome<Vec<Reply>> {
        match self {
            Self::List(list) => Ok(list),
            Self::Bytes(bytes) => Err(format!("not a list: {:?}", String::from_utf8_lossy(&bytes)).into()),
        }
    }

    fn bytes(self) -> Outcome<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::List(_) => Err("a list instead of bytes".into()),
        }
    }
}

/// Reads one reply of the serialization protocol.
fn reply(reader: &mut BufReader<TcpStream>) -> Outcome<Reply> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let (kind, rest) = line.trim_end().split_at_checked(1).ok_or("the connection was closed")?;
    match kind {
        "*" => Ok(Reply::List((0..rest.parse()?).map(|_| reply(reader)).collect::<Outcome<_>>()?)),
        "$" => {
            let mut bytes = vec![0; rest.parse::<usize>()? + 2];
            reader.read_exact(&mut bytes)?;
            bytes.truncate(bytes.len() - 2);
            Ok(Reply::Bytes(bytes))
        }
        "+" | ":" => Ok(Reply::Bytes(rest.as_bytes().to_vec())),
        _ => Err(format!("Redis says {line:?}").into()),
    }
}
