//! Accepts connections and serves them, with limits on what a slow or silent client can hold.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};

/// A request's head arrives within this time, counted from the answer before it.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// Bytes of a request's head, and of what is buffered of a body.
const BUFFER: usize = 64 * 1024;
/// The next bytes of a request's body arrive within this time.
const BODY_PAUSE: Duration = Duration::from_secs(30);
/// A client that takes nothing for this long is disconnected.
const STALLED_CLIENT: Duration = Duration::from_secs(45);
/// After the last answer has ended, clients have this time to read it and requests to finish.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// The places that the connections of all listeners share.
pub(crate) fn places(max_connections: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(max_connections.clamp(1, Semaphore::MAX_PERMITS)))
}

/// Serves connections until `ended`, then takes no more and lets those that are busy finish. `open_stream`
/// makes of each connection what HTTP is spoken over.
pub(crate) async fn serve<T, S>(
    (listener, open_stream): (TcpListener, impl Fn(TcpStream) -> T),
    service: S,
    places: Arc<Semaphore>,
    ended: impl Future<Output = ()>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request, Response = Response, Error = std::convert::Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(BUFFER);
    let (open, closing) = (TaskTracker::new(), CancellationToken::new());
    let accept = async {
        loop {
            // Closed by nobody, so this only waits.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let (stream, peer) = accept(&listener).await;
            let service = service.clone().map_request(move |request| {
                let mut request = with_patient_body(request);
                request.extensions_mut().insert(ConnectInfo(peer));
                request
            });
            let connection =
                builder.serve_connection(TokioIo::new(open_stream(stream)), TowerToHyperService::new(service));
            let closing = closing.clone();
            open.spawn(async move {
                let mut connection = std::pin::pin!(connection);
                let served = tokio::select! {
                    biased;
                    served = connection.as_mut() => served,
                    () = closing.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                };
                if let Err(error) = served {
                    tracing::trace!(%error, "a connection ended early");
                }
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = ended => {}
    }
    drop(listener);
    closing.cancel();
    open.close();
    if tokio::time::timeout(LAST_REQUESTS, open.wait()).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
}

/// The next connection. When there are no more files to open, waits for others to close.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                prepare(&stream);
                return (stream, peer);
            }
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) => {}
            Err(error) => {
                tracing::error!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn prepare(stream: &TcpStream) {
    let prepared = stream.set_nodelay(true).and_then(|()| {
        let millis = u32::try_from(STALLED_CLIENT.as_millis()).unwrap_or(u32::MAX);
        Ok(sockopt::set_tcp_user_timeout(stream, millis)?)
    });
    if let Err(error) = prepared {
        tracing::debug!(%error, "a connection's options could not be set");
    }
}

fn with_patient_body(request: hyper::Request<Incoming>) -> Request {
    request.map(|body| {
        if body.is_end_stream() {
            Body::empty()
        } else {
            Body::new(PatientBody { body, pause: BODY_PAUSE, waiting: None })
        }
    })
}

/// A body that fails when nothing arrives for `pause`.
struct PatientBody<B> {
    body: B,
    pause: Duration,
    /// Set while the client is waited for; a body that is there costs no timer.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<B> HttpBody for PatientBody<B>
where
    B: HttpBody<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Unpin,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let pause = self.pause;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        std::task::ready!(waiting.as_mut().poll(context));
        Poll::Ready(Some(Err("the rest of the request did not arrive in time".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    use super::*;

    async fn started(
        max_connections: usize,
    ) -> (std::net::SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/", get(async || "here"))
            .route("/length", post(async |body: Bytes| body.len().to_string()));
        let (stop, stopped) = oneshot::channel();
        let plain = (listener, std::convert::identity::<TcpStream>);
        let ended = async move { drop(stopped.await) };
        let served = tokio::spawn(serve(plain, router, places(max_connections), ended));
        (address, stop, served)
    }

    async fn answer_to(stream: &mut TcpStream, request: &str) -> String {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    #[tokio::test]
    async fn idle_connections_do_not_hold_the_stop() {
        let (address, stop, served) = started(10).await;
        let mut used = TcpStream::connect(address).await.unwrap();
        assert!(answer_to(&mut used, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.ends_with("here"));
        let post = "POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n12345";
        assert!(answer_to(&mut used, post).await.ends_with("\r\n\r\n5"));
        let mut silent = TcpStream::connect(address).await.unwrap();
        // The silent one is accepted before this one, which is answered.
        let mut last = TcpStream::connect(address).await.unwrap();
        assert!(answer_to(&mut last, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.ends_with("here"));
        stop.send(()).unwrap();
        served.await.unwrap();
        assert_eq!(used.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(silent.read(&mut [0; 8]).await.unwrap_or(0), 0);
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_connection_too_many_waits_for_a_place() {
        let (address, _stop, _served) = started(1).await;
        let first = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        drop(first);
        let mut answer = String::new();
        second.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("here"));
    }

    /// A body of which nothing arrives.
    struct Silent;

    impl HttpBody for Silent {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up() {
        let body = Body::new(PatientBody { body: Silent, pause: Duration::from_millis(1), waiting: None });
        assert!(axum::body::to_bytes(body, 100).await.is_err());
    }
}
