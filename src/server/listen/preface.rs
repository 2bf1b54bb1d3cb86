//! The first bytes of a connection, which say whether it speaks HTTP/2; they are read here and given again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// What every HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes in both directions: TCP or a Unix socket, with or without TLS.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A connection whose first bytes have been looked at.
pub(super) struct Begun {
    wire: Box<dyn Wire>,
    first: [u8; PREFACE.len()],
    /// The part of `first` that was read from the wire and not yet from here.
    from: usize,
    to: usize,
}

impl Begun {
    /// Reads as much as it takes to tell; whether it is HTTP/2.
    pub(super) async fn read(mut wire: Box<dyn Wire>) -> io::Result<(Self, bool)> {
        let mut first = [0; PREFACE.len()];
        let mut to = 0;
        let is_http2 = loop {
            let count = match first.get_mut(to..) {
                Some([]) | None => break true,
                Some(room) => wire.read(room).await?,
            };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            to = to.saturating_add(count);
            if first.get(..to) != PREFACE.get(..to) {
                break false;
            }
        };
        Ok((Self { wire, first, from: 0, to }, is_http2))
    }
}

impl AsyncRead for Begun {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.first.get(this.from..this.to) {
            Some([]) | None => Pin::new(&mut this.wire).poll_read(context, into),
            Some(rest) => {
                let count = rest.len().min(into.remaining());
                into.put_slice(rest.get(..count).unwrap_or_default());
                this.from = this.from.saturating_add(count);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Begun {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().wire).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().wire).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    /// Sends `parts` one after the other and ends: whether it is taken for HTTP/2, and what is then read.
    async fn begun(parts: &[&[u8]]) -> Option<(bool, Vec<u8>)> {
        let (mut client, server) = tokio::io::duplex(1024);
        let sending = async move {
            for part in parts {
                client.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let reading = async move {
            let (mut begun, is_http2) = Begun::read(Box::new(server)).await.ok()?;
            let mut bytes = Vec::new();
            begun.read_to_end(&mut bytes).await.unwrap();
            Some((is_http2, bytes))
        };
        tokio::join!(sending, reading).1
    }

    #[tokio::test]
    async fn nothing_is_lost_of_what_was_looked_at() {
        let (preface, more) = (&PREFACE[..], &b"\0\0\0\x04\0\0\0\0\0"[..]);
        let whole = [preface, more].concat();
        assert_eq!(begun(&[&whole]).await, Some((true, whole.clone())));
        assert_eq!(begun(&[b"P", b"RI", &whole[3..]]).await, Some((true, whole.clone())));
        assert_eq!(begun(&[preface]).await, Some((true, preface.to_vec())));
        let request = b"GET /healthz HTTP/1.1\r\n\r\n";
        assert_eq!(begun(&[request]).await, Some((false, request.to_vec())));
        assert_eq!(begun(&[b"PRI", b" / HTTP/1.1\r\n"]).await, Some((false, b"PRI / HTTP/1.1\r\n".to_vec())));
    }

    #[tokio::test]
    async fn one_that_ends_before_it_has_said_is_neither() {
        assert_eq!(begun(&[]).await, None);
        assert_eq!(begun(&[b"PRI * HTTP"]).await, None);
    }
}
