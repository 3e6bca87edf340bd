//! Talks to a running server over its admin socket.

use super::outcome::Failure;
use crate::model::ErrorBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

/// A server that may be there.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The one at this socket.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// What it answers.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn get<A: DeserializeOwned>(&self, uri: &str) -> Result<A, Failure> {
        self.ask(Method::GET, uri, None::<&()>).await
    }

    /// Has something made.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn post<A: DeserializeOwned>(
        &self,
        uri: &str,
        noun: &impl Serialize,
    ) -> Result<A, Failure> {
        self.ask(Method::POST, uri, Some(noun)).await
    }

    /// Has something become what is said.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn put<A: DeserializeOwned>(
        &self,
        uri: &str,
        noun: &impl Serialize,
    ) -> Result<A, Failure> {
        self.ask(Method::PUT, uri, Some(noun)).await
    }

    /// Has something change in what is said.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn patch<A: DeserializeOwned>(
        &self,
        uri: &str,
        noun: &impl Serialize,
    ) -> Result<A, Failure> {
        self.ask(Method::PATCH, uri, Some(noun)).await
    }

    /// Has something removed.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn delete<A: DeserializeOwned>(&self, uri: &str) -> Result<A, Failure> {
        self.ask(Method::DELETE, uri, None::<&()>).await
    }

    /// The lines of an answer that does not end, as they come.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn lines(&self, uri: &str) -> Result<Lines, Failure> {
        Ok(Lines { chunks: self.chunks(uri).await?, received: Vec::new() })
    }

    /// An answer that does not end, as it comes.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn chunks(&self, uri: &str) -> Result<Chunks, Failure> {
        let answer = self.send(Method::GET, uri, None::<&()>).await?;
        let answer = self.accepted(answer).await?;
        Ok(Chunks { body: answer.into_body(), socket: self.socket.clone() })
    }

    async fn ask<A: DeserializeOwned>(
        &self,
        method: Method,
        uri: &str,
        noun: Option<&impl Serialize>,
    ) -> Result<A, Failure> {
        let answer = self.send(method, uri, noun).await?;
        let answer = self.accepted(answer).await?;
        let body = self.whole(answer.into_body()).await?;
        // Nothing is said where there is nothing to say.
        let body: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(body).map_err(|error| self.odd(format_args!("{uri}: {error}")))
    }

    async fn send(
        &self,
        method: Method,
        uri: &str,
        noun: Option<&impl Serialize>,
    ) -> Result<Response<Incoming>, Failure> {
        let failed = |error: &dyn Display| self.odd(error);
        let body = match noun {
            Some(noun) => serde_json::to_vec(noun).map_err(|error| failed(&error))?,
            None => Vec::new(),
        };
        let mut request = Request::builder().method(method).uri(uri).header(HOST, "holm");
        if noun.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| failed(&error))?;
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| Failure::Unreachable(why_not(&self.socket, &error)))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| failed(&error))
    }

    /// An answer that is not a refusal.
    async fn accepted(&self, answer: Response<Incoming>) -> Result<Response<Incoming>, Failure> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = self.whole(answer.into_body()).await?;
        match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(refusal) => Err(Failure::Refused(refusal)),
            Err(_) => Err(self.odd(format_args!("status {status} without a reason"))),
        }
    }

    async fn whole(&self, body: Incoming) -> Result<Bytes, Failure> {
        Ok(body.collect().await.map_err(|error| self.odd(error))?.to_bytes())
    }

    fn odd(&self, what: impl Display) -> Failure {
        Failure::Unreachable(format!(
            "the server at {} broke off: {what}; is it of this version, and does it still run?",
            self.socket.display()
        ))
    }
}

fn why_not(socket: &Path, error: &io::Error) -> String {
    let socket = socket.display();
    match error.kind() {
        ErrorKind::NotFound => format!(
            "no server at {socket}: there is no such socket; start one with `holm serve`, or name \
             its socket with --admin"
        ),
        ErrorKind::ConnectionRefused => format!(
            "no server at {socket}: it has ended and left its socket; start one with `holm serve`, \
             or name its socket with --admin"
        ),
        ErrorKind::PermissionDenied => format!(
            "may not connect to {socket}: only root and the user who runs the server may; try sudo"
        ),
        _ => format!("could not connect to {socket}: {error}"),
    }
}

/// Bytes, as they come.
#[derive(Debug)]
pub struct Chunks {
    body: Incoming,
    socket: PathBuf,
}

impl Chunks {
    /// Some more; `None` when the server has ended.
    ///
    /// # Errors
    ///
    /// [`Failure`], if it ends in the middle.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        match self.body.frame().await {
            None => Ok(None),
            Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
            Some(Err(error)) => Err(Failure::Unreachable(format!(
                "the server at {} broke off: {error}",
                self.socket.display()
            ))),
        }
    }
}

/// Lines, as they come.
#[derive(Debug)]
pub struct Lines {
    chunks: Chunks,
    received: Vec<u8>,
}

impl Lines {
    /// The next one, without its end; `None` when the server has ended.
    ///
    /// # Errors
    ///
    /// [`Failure`], if it ends in the middle.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut searched = 0;
        loop {
            let rest = self.received.get(searched..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let mut line = self.received.split_off(searched + end + 1);
                std::mem::swap(&mut line, &mut self.received);
                line.pop();
                return Ok(Some(line));
            }
            searched = self.received.len();
            match self.chunks.next().await? {
                None => return Ok(None),
                Some(chunk) => self.received.extend_from_slice(&chunk),
            }
        }
    }
}
