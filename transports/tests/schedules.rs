//! Long-poll over networks that lose, cut, repeat, delay and swap requests and answers, drawn from
//! seeds: what arrives is the beginning of what was sent, and once the faults stop, all of it.
//!
//! `SCHEDULES=1000000` runs that many, `SCHEDULE=17` one, and prints what becomes of each request.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::future::join4;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use logux_transports::{
    Format, FrameReceiver, FrameSender, HttpClient, HttpListener, HttpService, Listener,
    ListenerOptions, LongPoll, Transport,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower_service::Service;

const FORMAT: Format = Format { name: "kit", media_type: "text/plain", is_text: |_| true };
const MAX_FRAME: usize = 1 << 20;
const FRAMES: usize = 24;

/// As the protocol has them: how long a poll is held, and how much longer its answer may take.
const WAIT: Duration = Duration::from_secs(25);
const PATIENCE: Duration = Duration::from_secs(10);

/// A request, and after how many others it comes once more.
type Late = (u32, Request<Bytes>);

/// What a seed makes of a network.
#[derive(Clone, Copy, Debug)]
struct Weather {
    /// How often each happens, of a hundred requests.
    lose_request: u32,
    lose_answer: u32,
    cut_request: u32,
    repeat_now: u32,
    repeat_late: u32,
    /// How long a request, and an answer, are on their way at most.
    delay: Duration,
    /// Until when there are faults.
    until: Instant,
    /// Whether it is so bad that sessions may end of it.
    is_harsh: bool,
    /// When the server forgets all sessions.
    restart: Option<Instant>,
}

impl Weather {
    fn new(random: &mut Rng) -> Self {
        let is_harsh = random.bool();
        // Not all kinds at once: some faults hide others.
        let mut often = |most: u32| if random.bool() { random.u32(0..=most) } else { 0 };
        let most = if is_harsh { 40 } else { 12 };
        let (lose_request, lose_answer) = (often(most), often(most));
        let (cut_request, repeat_now, repeat_late) = (often(most), often(60), often(60));
        let delay = match (is_harsh, random.u32(0..3)) {
            (_, 0) => Duration::ZERO,
            (true, 1) => Duration::from_secs(60),
            _ => Duration::from_millis(random.u64(1..2000)),
        };
        let until = Instant::now() + Duration::from_secs(random.u64(1..120));
        let restart = (is_harsh && random.u32(0..8) == 0)
            .then(|| Instant::now() + Duration::from_millis(random.u64(0..60_000)));
        Self {
            lose_request,
            lose_answer,
            cut_request,
            repeat_now,
            repeat_late,
            delay,
            until,
            is_harsh,
            restart,
        }
    }
}

/// An HTTP client whose requests go through the weather to a service.
#[derive(Clone)]
struct Network {
    service: HttpService,
    random: Arc<Mutex<Rng>>,
    weather: Weather,
    /// Requests that come once more, after so many others.
    late: Arc<Mutex<Vec<Late>>>,
    shows: bool,
}

impl Network {
    fn happens(&self, percent: u32) -> bool {
        Instant::now() < self.weather.until && self.random.lock().unwrap().u32(0..100) < percent
    }

    fn delay(&self) -> Duration {
        if Instant::now() >= self.weather.until {
            return Duration::from_millis(1);
        }
        let most = u64::try_from(self.weather.delay.as_millis()).unwrap();
        // Seldom long, so that requests overtake each other.
        let mut random = self.random.lock().unwrap();
        let most = if random.u32(0..4) == 0 { most } else { most / 20 };
        Duration::from_millis(random.u64(0..=most))
    }

    fn call(
        &self,
        request: Request<Bytes>,
        cut: Option<usize>,
    ) -> impl Future<Output = Response<Bytes>> + Send + use<> {
        let mut service = self.service.clone();
        async move {
            let Ok(response) = service.call(request.map(|body| Sent::new(&body, cut))).await;
            let (head, body) = response.into_parts();
            let Ok(body) = body.collect().await;
            Response::from_parts(head, body.to_bytes())
        }
    }

    /// Delivers the requests whose time to come again has come.
    fn repeat(&self) {
        let mut late = self.late.lock().unwrap();
        for (left, _) in late.iter_mut() {
            *left -= 1;
        }
        for (_, request) in late.extract_if(.., |(left, _)| *left == 0) {
            tokio::spawn(self.call(request, None));
        }
    }
}

impl HttpClient for Network {
    async fn request(&mut self, request: Request<Bytes>, _: usize) -> io::Result<Response<Bytes>> {
        let lost = || io::Error::from(io::ErrorKind::ConnectionReset);
        self.repeat();
        let fate = [
            self.happens(self.weather.lose_request),
            self.happens(self.weather.cut_request),
            self.happens(self.weather.repeat_now),
            self.happens(self.weather.repeat_late),
            self.happens(self.weather.lose_answer),
        ];
        if self.shows {
            println!("{:?} {fate:?} {:?}", Instant::now(), request.headers());
        }
        let [lose_request, cut_request, repeat_now, repeat_late, lose_answer] = fate;
        let (there, back) = (self.delay(), self.delay());
        if repeat_late {
            let after = self.random.lock().unwrap().u32(1..=50);
            self.late.lock().unwrap().push((after, request.clone()));
        }
        if repeat_now {
            let again = self.delay();
            let call = self.call(request.clone(), None);
            tokio::spawn(async move {
                sleep(again).await;
                call.await
            });
        }
        let cut = cut_request.then(|| self.random.lock().unwrap().usize(0..=request.body().len()));
        let call = self.call(request, cut);
        // On its way whether or not anybody still waits for the answer.
        let (answer, answered) = oneshot::channel();
        tokio::spawn(async move {
            sleep(there).await;
            if !lose_request {
                let response = call.await;
                sleep(back).await;
                if !lose_answer && cut.is_none() {
                    let _ = answer.send(response);
                }
            }
        });
        answered.await.map_err(|_| lost())
    }
}

/// A body that may end in an error after so many bytes.
struct Sent {
    body: Bytes,
    length: u64,
    cut: Option<usize>,
}

impl Sent {
    fn new(body: &Bytes, cut: Option<usize>) -> Self {
        let length = body.len() as u64;
        let body = body.slice(..cut.unwrap_or(body.len()));
        Self { body, length, cut }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if !self.body.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.body)))));
        }
        let cut = self.cut.take().map(|_| Err(io::ErrorKind::UnexpectedEof.into()));
        Poll::Ready(cut)
    }

    fn is_end_stream(&self) -> bool {
        self.length == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

/// What a half came to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Whole,
    Lost(String),
}

async fn send<S: FrameSender>(mut sender: S, frames: &[Bytes], mut random: Rng) -> Outcome {
    let sent = async {
        for frame in frames {
            sender.send(frame.clone()).await?;
            if random.bool() {
                sender.flush().await?;
                sleep(Duration::from_millis(random.u64(0..6000))).await;
            }
        }
        sender.close().await
    };
    match sent.await {
        Ok(()) => Outcome::Whole,
        Err(error) => Outcome::Lost(error.to_string()),
    }
}

/// Panics where what arrives is not the beginning of what was sent.
async fn receive<R: FrameReceiver>(mut receiver: R, frames: &[Bytes], mut random: Rng) -> Outcome {
    let mut expected = frames.iter();
    loop {
        match receiver.receive(MAX_FRAME).await {
            Ok(Some(frame)) => {
                let number = frames.len() - expected.len();
                assert!(Some(&frame) == expected.next(), "something else came as frame {number}");
                if random.u32(0..10) == 0 {
                    sleep(Duration::from_millis(random.u64(0..3000))).await;
                }
            }
            Ok(None) => {
                assert!(expected.len() == 0, "{} frames are missing at the end", expected.len());
                return Outcome::Whole;
            }
            Err(error) => return Outcome::Lost(error.to_string()),
        }
    }
}

/// Drops a half at some time.
async fn unless(restart: Option<Instant>, half: impl Future<Output = Outcome>) -> Outcome {
    let Some(restart) = restart else { return half.await };
    tokio::select! {
        biased;
        outcome = half => outcome,
        () = sleep_until(restart) => Outcome::Lost("the server was started anew".into()),
    }
}

fn frames(random: &mut Rng) -> Vec<Bytes> {
    (0..FRAMES)
        .map(|number| {
            let most = if random.u32(0..30) == 0 { 300_000 } else { 300 };
            let mut frame = format!("{number} ").into_bytes();
            frame.resize(frame.len() + random.usize(0..most), b'.');
            frame.into()
        })
        .collect()
}

/// Runs a schedule; whether the session lived to the end.
async fn run(seed: u64, shows: bool) -> bool {
    let mut random = Rng::with_seed(seed);
    let options = ListenerOptions::new().wait(WAIT);
    let (service, listener) = HttpListener::mounted();
    let mut listener = listener.options(options);
    let weather = Weather::new(&mut random);
    let network = Network {
        service,
        random: Arc::new(Mutex::new(random.fork())),
        weather,
        late: Arc::default(),
        shows,
    };
    let mut transport = LongPoll::over("http://localhost/", network).unwrap();
    let opened = tokio::try_join!(transport.open(FORMAT, MAX_FRAME), async {
        timeout(PATIENCE, listener.accept(&[FORMAT], MAX_FRAME)).await?
    });
    let Ok((near, far)) = opened else {
        assert!(weather.is_harsh, "no session was opened");
        return false;
    };
    let (up, down) = (frames(&mut random), frames(&mut random));
    let start = Instant::now();
    let outcomes = join4(
        send(near.sender, &up, random.fork()),
        unless(weather.restart, receive(far.receiver, &up, random.fork())),
        unless(weather.restart, send(far.sender, &down, random.fork())),
        receive(near.receiver, &down, random.fork()),
    );
    // All is sent some time after the start, or once there is room; the faults end some time.
    let busy = Duration::from_secs(10) * u32::try_from(FRAMES).unwrap();
    let due = start.max(weather.until) + busy + 2 * WAIT + PATIENCE;
    let outcomes: [Outcome; 4] = tokio::select! {
        biased;
        (a, b, c, d) = outcomes => [a, b, c, d],
        () = sleep_until(due) => panic!("not all has come when the faults are over"),
    };
    // Who closes may not hear that it was understood; what counts is what arrived.
    let is_whole = outcomes[1] == Outcome::Whole && outcomes[3] == Outcome::Whole;
    assert!(is_whole || weather.is_harsh, "{outcomes:?}");
    is_whole
}

fn schedule(seed: u64, shows: bool) -> bool {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(run(seed, shows))
}

#[test]
fn what_arrives_is_the_beginning_of_what_was_sent_and_once_faults_stop_all_of_it() {
    let variable = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = variable("SCHEDULE") {
        schedule(seed, true);
        return;
    }
    let seeds = variable("SCHEDULES").unwrap_or(10_000);
    let (next, whole) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let Ok(is_whole) = std::panic::catch_unwind(|| schedule(seed, false)) else {
                        panic!("schedule {seed} failed: SCHEDULE={seed} shows it");
                    };
                    whole.fetch_add(is_whole.into(), Ordering::Relaxed);
                }
            });
        }
    });
    let whole = whole.into_inner();
    // Or little would have been tried.
    assert!(whole > seeds / 2, "only {whole} of {seeds} sessions lived to the end");
    println!("{whole} of {seeds} sessions lived to the end");
}
