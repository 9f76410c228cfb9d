//! Production's connections: sockets on async-io, read in a way that saves system calls.
//!
//! A request costs a read and a write. What else there is to a connection is to learn when to read, and that is saved:
//!
//! - A read that did not fill its buffer has drained the socket. The next one waits for news of it instead of asking the kernel,
//!   which would only say that there is nothing. Nothing is missed if there was: async-io polls level-triggered.
//! - Under load the next request is often there by the time all other connections had their turn. So a connection that has answered
//!   makes way for them and then looks, which costs less than to ask for news (`epoll_ctl`) and to be told. A look that finds nothing
//!   makes the next ones rare, so that a connection that has time spends little on them.

use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_io::Async;
use futures_lite::{AsyncRead, AsyncWrite};

/// A connection of production. See the module's text.
#[derive(Debug)]
pub struct SmolStream {
    socket: Connected,
    /// The last read took all that there was.
    drained: bool,
    /// What the next read after an answer does first.
    look: Look,
    /// Answers until the next look.
    looks_in: u8,
    /// What that was set to after the last look that found nothing.
    skipped: u8,
}

#[derive(Debug)]
enum Connected {
    Tcp(Async<TcpStream>),
    Unix(Async<UnixStream>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Waits for news.
    Never,
    /// Makes way for others.
    Later,
    /// Looks whether there is something to read.
    Now,
}

/// After a look that found nothing there is none for one answer, after the next for two, then four, up to so many.
const SKIPPED_MAX: u8 = 32;

impl SmolStream {
    pub(super) fn tcp(stream: Async<TcpStream>) -> SmolStream {
        SmolStream::new(Connected::Tcp(stream))
    }

    pub(super) fn unix(stream: Async<UnixStream>) -> SmolStream {
        SmolStream::new(Connected::Unix(stream))
    }

    fn new(socket: Connected) -> SmolStream {
        SmolStream { socket, drained: false, look: Look::Never, looks_in: 1, skipped: 1 }
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.socket {
            Connected::Tcp(stream) => stream.get_ref().read(buffer),
            Connected::Unix(stream) => stream.get_ref().read(buffer),
        }
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.socket {
            Connected::Tcp(stream) => stream.poll_readable(cx),
            Connected::Unix(stream) => stream.poll_readable(cx),
        }
    }

    /// Notes that an answer was written.
    fn answered(&mut self) {
        self.looks_in = self.looks_in.saturating_sub(1);
        self.look = if self.looks_in == 0 { Look::Later } else { Look::Never };
    }
}

impl AsyncRead for SmolStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        loop {
            let mut looked = false;
            if stream.drained {
                match std::mem::replace(&mut stream.look, Look::Never) {
                    Look::Later => {
                        stream.look = Look::Now;
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Look::Now => looked = true,
                    Look::Never => ready!(stream.poll_readable(cx))?,
                }
            }
            match stream.receive(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    stream.drained = true;
                    stream.skipped = (stream.skipped * 2).min(SKIPPED_MAX);
                    stream.looks_in = stream.skipped;
                }
                read => {
                    if looked {
                        stream.skipped = 1;
                    }
                    stream.drained = matches!(read, Ok(bytes) if bytes < buffer.len());
                    return Poll::Ready(read);
                }
            }
        }
    }
}

impl AsyncWrite for SmolStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        stream.answered();
        match &mut stream.socket {
            Connected::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Connected::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Closes the write half; the read half stays open until the stream is dropped.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match &self.socket {
            Connected::Tcp(stream) => stream.get_ref().shutdown(Shutdown::Write),
            Connected::Unix(stream) => stream.get_ref().shutdown(Shutdown::Write),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::task::Wake;

    use futures_lite::{AsyncReadExt, AsyncWriteExt, future};

    use super::*;

    fn pair() -> (SmolStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (SmolStream::unix(Async::new(ours).unwrap()), theirs)
    }

    fn read(stream: &mut SmolStream) -> Vec<u8> {
        let mut buffer = [0; 16];
        let count = future::block_on(stream.read(&mut buffer)).unwrap();
        buffer[..count].to_vec()
    }

    /// A waker that only says whether it was called.
    #[derive(Default)]
    struct Called(AtomicBool);

    impl Wake for Called {
        fn wake(self: Arc<Self>) {
            self.0.store(true, SeqCst);
        }
    }

    /// Writes an answer, then reads: whether the read asks for another turn to look, instead of waiting for news.
    fn looks_after_an_answer(stream: &mut SmolStream) -> bool {
        assert_eq!(future::block_on(stream.write(b"answer")).unwrap(), 6);
        let called = Arc::new(Called::default());
        let waker = called.clone().into();
        let mut buffer = [0; 16];
        assert!(Pin::new(stream).poll_read(&mut Context::from_waker(&waker), &mut buffer).is_pending());
        called.0.load(SeqCst)
    }

    #[test]
    fn what_comes_with_or_after_a_short_read_is_not_missed() {
        let (mut stream, mut client) = pair();
        client.write_all(b"abc").unwrap();
        assert_eq!(read(&mut stream), b"abc");
        client.write_all(b"seventeen letters").unwrap();
        assert_eq!((read(&mut stream), read(&mut stream)), (b"seventeen letter".to_vec(), b"s".to_vec()));
        client.write_all(b"end").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!((read(&mut stream), read(&mut stream)), (b"end".to_vec(), Vec::new()));
    }

    #[test]
    fn looks_that_find_nothing_become_rare_and_one_that_finds_something_brings_them_back() {
        let (mut stream, mut client) = pair();
        client.write_all(b"request").unwrap();
        assert_eq!(read(&mut stream), b"request");
        // Each look is followed by a read that finds nothing and waits.
        let mut looks = |answers: usize, client: &mut UnixStream| {
            let mut looked = Vec::new();
            for answer in 1..=answers {
                if looks_after_an_answer(&mut stream) {
                    looked.push(answer);
                    assert!(future::block_on(future::poll_once(stream.read(&mut [0; 16]))).is_none());
                }
                client.write_all(b"request").unwrap();
                assert_eq!(read(&mut stream), b"request");
            }
            looked
        };
        assert_eq!(looks(100, &mut client), [1, 3, 7, 15, 31, 63, 95]);
        assert_eq!(looks(27, &mut client), [27], "the last look was five answers before");
        // This one finds the next request.
        (1..32).for_each(|_| assert!(!looks_after_an_answer(&mut stream)));
        assert!(looks_after_an_answer(&mut stream));
        client.write_all(b"request").unwrap();
        assert_eq!(read(&mut stream), b"request");
        assert!(looks_after_an_answer(&mut stream), "so the next one looks again");
    }
}
