//! The connection to a server: TCP, TLS over it, deflate in that.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::error::ImapError;
use super::wire::{LITERAL, Raw};

/// A server that has not answered for so long is gone. To open a large folder may take a while.
const PATIENCE: Duration = Duration::from_secs(120);
/// A server that takes no connection for so long is not there.
const CONNECT: Duration = Duration::from_secs(20);
/// The longest line of a response: the UIDs of a large folder stand in one.
const MOST_LINE: usize = 1 << 20;
/// All literals of one response.
const MOST_LITERALS: usize = 256 << 20;
/// Literals of one response.
const MOST_PARTS: usize = 1024;
/// Bytes that are read or written at a time.
const BUFFER: usize = 64 << 10;

enum Transport {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(stream) => {
                stream.write_all(bytes)?;
                stream.flush()
            }
        }
    }
}

/// Both directions of COMPRESS=DEFLATE (RFC 4978).
struct Deflate {
    out: Compress,
    back: Decompress,
    /// Compressed bytes that were read, from `at` on.
    read: Vec<u8>,
    at: usize,
}

/// A connection.
pub(super) struct Stream {
    transport: Transport,
    deflate: Option<Deflate>,
    /// Bytes that were read, from `at` on.
    read: Vec<u8>,
    at: usize,
    /// Bytes that are to be sent.
    written: Vec<u8>,
}

impl Stream {
    /// Connects to the first address of `host` that answers.
    pub(super) fn connect(host: &str, port: u16) -> Result<Self, ImapError> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let addresses = (host, port).to_socket_addrs().map_err(ImapError::Connect)?;
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => {
                    let set = stream
                        .set_read_timeout(Some(CONNECT))
                        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
                        .and_then(|()| stream.set_nodelay(true));
                    set.map_err(ImapError::Connect)?;
                    return Ok(Self {
                        transport: Transport::Plain(stream),
                        deflate: None,
                        read: Vec::new(),
                        at: 0,
                        written: Vec::new(),
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(ImapError::Connect(last))
    }

    /// Goes on within TLS, with a server that proves to be `host`. What was read before it is
    /// dropped: somebody else may have sent it.
    pub(super) fn encrypt(self, host: &str, config: &Arc<ClientConfig>) -> Result<Self, ImapError> {
        let Transport::Plain(mut tcp) = self.transport else {
            return Ok(self);
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| ImapError::Tls(format!("{host:?} is no name of a server")))?;
        let tls = |error: rustls::Error| ImapError::Tls(error.to_string());
        let mut connection = ClientConnection::new(Arc::clone(config), name).map_err(tls)?;
        connection
            .complete_io(&mut tcp)
            .map_err(|error| ImapError::Tls(error.to_string()))?;
        Ok(Self {
            transport: Transport::Tls(Box::new(StreamOwned::new(connection, tcp))),
            deflate: None,
            read: Vec::new(),
            at: 0,
            written: Vec::new(),
        })
    }

    /// Waits longer for answers, now that there was a first one.
    pub(super) fn be_patient(&self) -> Result<(), ImapError> {
        let tcp = match &self.transport {
            Transport::Plain(stream) => stream,
            Transport::Tls(stream) => &stream.sock,
        };
        tcp.set_read_timeout(Some(PATIENCE))
            .map_err(ImapError::Lost)
    }

    /// Whether nobody between can read along.
    pub(super) const fn is_encrypted(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    /// Compresses from here on.
    pub(super) fn compress(&mut self) {
        let rest = self.read.split_off(self.at.min(self.read.len()));
        self.read.clear();
        self.at = 0;
        self.deflate = Some(Deflate {
            out: Compress::new(Compression::fast(), false),
            back: Decompress::new(false),
            read: rest,
            at: 0,
        });
    }

    /// Adds bytes to what is sent next.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ImapError> {
        self.written.extend_from_slice(bytes);
        if self.written.len() >= BUFFER {
            self.send(FlushCompress::None)?;
        }
        Ok(())
    }

    /// Sends all that was written.
    pub(super) fn flush(&mut self) -> Result<(), ImapError> {
        self.send(FlushCompress::Sync)
    }

    fn send(&mut self, flush: FlushCompress) -> Result<(), ImapError> {
        let plain = std::mem::take(&mut self.written);
        let Some(deflate) = &mut self.deflate else {
            return self.transport.write_all(&plain).map_err(ImapError::Lost);
        };
        let mut rest = plain.as_slice();
        let mut out = Vec::with_capacity(BUFFER);
        loop {
            let before = deflate.out.total_in();
            deflate
                .out
                .compress_vec(rest, &mut out, flush)
                .map_err(|error| ImapError::Lost(io::Error::other(error)))?;
            let taken = deflate.out.total_in().saturating_sub(before);
            rest = rest
                .get(usize::try_from(taken).unwrap_or(usize::MAX)..)
                .unwrap_or_default();
            let is_full = out.len() == out.capacity();
            self.transport.write_all(&out).map_err(ImapError::Lost)?;
            out.clear();
            if rest.is_empty() && !is_full {
                return Ok(());
            }
        }
    }

    /// Reads one response, literals and all.
    pub(super) fn response(&mut self) -> Result<Raw, ImapError> {
        let mut raw = Raw::default();
        let mut bytes = 0_usize;
        loop {
            let from = raw.line.len();
            self.line(&mut raw.line)?;
            let line = raw.line.get(from..).unwrap_or_default();
            if memchr::memchr(LITERAL, line).is_some() {
                return Err(ImapError::Nonsense("a line with a NUL byte".to_owned()));
            }
            let Some((at, length)) = literal(line) else {
                return Ok(raw);
            };
            bytes = bytes.saturating_add(length);
            if bytes > MOST_LITERALS {
                return Err(ImapError::Nonsense(format!(
                    "a response with literals of {bytes} bytes"
                )));
            }
            if raw.literals.len() >= MOST_PARTS {
                return Err(ImapError::Nonsense(format!(
                    "a response with more than {MOST_PARTS} literals"
                )));
            }
            raw.line.truncate(from.saturating_add(at));
            raw.line.push(LITERAL);
            raw.literals.push(self.exactly(length)?);
        }
    }

    /// Appends a line to `line`, without its end.
    fn line(&mut self, line: &mut Vec<u8>) -> Result<(), ImapError> {
        loop {
            let rest = self.read.get(self.at..).unwrap_or_default();
            if let Some(end) = memchr::memchr(b'\n', rest) {
                line.extend_from_slice(rest.get(..end).unwrap_or_default());
                self.at = self.at.saturating_add(end).saturating_add(1);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(());
            }
            line.extend_from_slice(rest);
            if line.len() > MOST_LINE {
                return Err(ImapError::Nonsense("a line without an end".to_owned()));
            }
            self.fill()?;
        }
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, ImapError> {
        let mut bytes = Vec::with_capacity(length.min(BUFFER));
        loop {
            let rest = self.read.get(self.at..).unwrap_or_default();
            let missing = length.saturating_sub(bytes.len());
            let part = rest.get(..missing.min(rest.len())).unwrap_or_default();
            bytes.extend_from_slice(part);
            self.at = self.at.saturating_add(part.len());
            if bytes.len() == length {
                return Ok(bytes);
            }
            self.fill()?;
        }
    }

    /// Reads more, after all that was read is used up.
    fn fill(&mut self) -> Result<(), ImapError> {
        self.at = 0;
        let Some(deflate) = &mut self.deflate else {
            self.read.resize(BUFFER, 0);
            let count = receive(&mut self.transport, &mut self.read)?;
            self.read.truncate(count);
            return Ok(());
        };
        self.read.clear();
        self.read.reserve(BUFFER);
        loop {
            let rest = deflate.read.get(deflate.at..).unwrap_or_default();
            let before = deflate.back.total_in();
            let status = deflate
                .back
                .decompress_vec(rest, &mut self.read, FlushDecompress::Sync);
            let status = status.map_err(|error| ImapError::Nonsense(error.to_string()))?;
            let taken = deflate.back.total_in().saturating_sub(before);
            let taken = usize::try_from(taken).unwrap_or(usize::MAX);
            deflate.at = deflate.at.saturating_add(taken);
            if !self.read.is_empty() {
                return Ok(());
            }
            if status == Status::StreamEnd {
                return Err(ImapError::Lost(io::ErrorKind::UnexpectedEof.into()));
            }
            deflate.read.resize(BUFFER, 0);
            deflate.at = 0;
            let count = receive(&mut self.transport, &mut deflate.read)?;
            deflate.read.truncate(count);
        }
    }
}

fn receive(transport: &mut Transport, buffer: &mut [u8]) -> Result<usize, ImapError> {
    loop {
        match transport.read(buffer) {
            Ok(0) => return Err(ImapError::Lost(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ImapError::Lost(error)),
        }
    }
}

/// Where the announcement of a literal begins at the end of a line, and how long the literal is.
fn literal(line: &[u8]) -> Option<(usize, usize)> {
    let inner = line.strip_suffix(b"}")?;
    let at = memchr::memrchr(b'{', inner)?;
    let digits = inner.get(at.saturating_add(1)..)?;
    let digits = digits.strip_suffix(b"+").unwrap_or(digits);
    let length = std::str::from_utf8(digits).ok()?.parse().ok()?;
    // `~{` announces one that may hold NUL bytes.
    let at = match at.checked_sub(1) {
        Some(before) if line.get(before) == Some(&b'~') => before,
        _ => at,
    };
    Some((at, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_announced_at_the_end_of_a_line() {
        for (line, want) in [
            (b"* 1 FETCH (BODY[] {12}".as_slice(), Some((18, 12))),
            (b"BINARY[1] ~{3}", Some((10, 3))),
            (b"a {12+}", Some((2, 12))),
            (b"a {-1}", None),
            (b"a {}", None),
            (b"a {99999999999999999999999}", None),
            (b"{1} a", None),
        ] {
            assert_eq!(literal(line), want, "{}", String::from_utf8_lossy(line));
        }
    }
}
