//! Answers that nobody takes end their connection.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A stream that fails when its peer takes nothing of what is written for so long. A peer that has
/// taken everything may be as slow as it likes.
#[derive(Debug)]
pub(super) struct Taken<S> {
    stream: S,
    within: Duration,
    /// Runs while something waits to be taken.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Taken<S> {
    pub(super) fn new(stream: S, within: Duration) -> Self {
        Self { stream, within, stalled: None }
    }

    /// What came of a write; a failure, if nothing has for too long.
    fn unless_stalled<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let within = self.within;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(within)));
        ready!(stalled.as_mut().poll(context));
        let why = format!("the reader has taken nothing for {within:?}");
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, why)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Taken<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.unless_stalled(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.unless_stalled(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::net::UnixStream;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(test);
    }

    /// More than a socket keeps for who does not read.
    const MUCH: usize = 4 << 20;

    async fn write(stream: &mut Taken<UnixStream>, mut count: usize) -> io::Result<()> {
        let bytes = vec![1; 64 << 10];
        while count > 0 {
            let piece = &bytes[..count.min(bytes.len())];
            count -= poll_fn(|context| Pin::new(&mut *stream).poll_write(context, piece)).await?;
        }
        Ok(())
    }

    #[test]
    fn write_fails_when_nobody_takes_it() {
        run(async {
            let (_reader, ours) = UnixStream::pair().expect("descriptors");
            let mut ours = Taken::new(ours, Duration::from_millis(1));
            let error = write(&mut ours, MUCH).await.expect_err("nobody reads");
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        });
    }

    #[test]
    fn reader_that_takes_it_gets_everything() {
        run(async {
            let (reader, ours) = UnixStream::pair().expect("descriptors");
            let mut ours = Taken::new(ours, Duration::from_secs(3600));
            let writes = async {
                write(&mut ours, MUCH).await.expect("it is taken");
                drop(ours);
            };
            let reads = async {
                let (mut buffer, mut all) = (vec![0; 64 << 10], 0);
                loop {
                    reader.readable().await.expect("a socket");
                    match reader.try_read(&mut buffer) {
                        Ok(0) => return all,
                        Ok(count) => all += count,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    }
                }
            };
            assert_eq!(tokio::join!(writes, reads).1, MUCH);
        });
    }
}
