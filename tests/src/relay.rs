//! A relay passes one port on, TCP and UDP, and counts the bytes. Over UDP it can fall silent, as a firewall does, and come
//! from another address, as a network does that an agent moved to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{AbortHandle, JoinSet};

/// The longest datagram there is.
const DATAGRAM: usize = 65_535;

#[derive(Debug, Default)]
struct Traffic {
    /// To the aggregator and from it; what TCP carries, TLS included, and what UDP does.
    tcp: [AtomicU64; 2],
    udp: [AtomicU64; 2],
    silent: AtomicBool,
    /// Last part of the loopback address that UDP comes from.
    place: AtomicU8,
}

/// A running relay; it ends when dropped.
#[derive(Debug)]
pub struct Relay {
    pub port: u16,
    traffic: Arc<Traffic>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Listens on a port of its own, TCP and UDP, and passes on to `port`.
    pub async fn start(upstream: u16) -> anyhow::Result<Self> {
        let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, upstream));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await.context("the UDP port of that number")?;
        let traffic = Arc::new(Traffic::default());
        traffic.place.store(1, Ordering::Relaxed);
        let mut tasks = JoinSet::new();
        tasks.spawn(tcp(listener, upstream, traffic.clone()));
        tasks.spawn(udp(Arc::new(socket), upstream, traffic.clone()));
        Ok(Self { port, traffic, _tasks: tasks })
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Bytes to the aggregator and from it, over TCP.
    pub fn tcp_bytes(&self) -> (u64, u64) {
        both(&self.traffic.tcp)
    }

    /// Bytes to the aggregator and from it, over UDP.
    pub fn udp_bytes(&self) -> (u64, u64) {
        both(&self.traffic.udp)
    }

    /// Lets no datagram through any more, or again.
    pub fn silence_udp(&self, silent: bool) {
        self.traffic.silent.store(silent, Ordering::Relaxed);
    }

    /// From now on datagrams come from another address and port.
    pub fn move_away(&self) {
        self.traffic.place.fetch_add(1, Ordering::Relaxed);
    }
}

fn both(counted: &[AtomicU64; 2]) -> (u64, u64) {
    (counted[0].load(Ordering::Relaxed), counted[1].load(Ordering::Relaxed))
}

async fn tcp(listener: TcpListener, upstream: SocketAddr, traffic: Arc<Traffic>) {
    let mut connections = JoinSet::new();
    while let Ok((agent, _)) = listener.accept().await {
        let traffic = traffic.clone();
        connections.spawn(async move {
            let Ok(aggregator) = TcpStream::connect(upstream).await else { return };
            drop((agent.set_nodelay(true), aggregator.set_nodelay(true)));
            let ((from_agent, to_agent), (from_aggregator, to_aggregator)) =
                (agent.into_split(), aggregator.into_split());
            tokio::join!(
                pass(from_agent, to_aggregator, &traffic.tcp[0]),
                pass(from_aggregator, to_agent, &traffic.tcp[1]),
            );
        });
    }
}

async fn pass(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf, counted: &AtomicU64) {
    let mut buffer = [0; 16 * 1_024];
    while let Ok(read) = from.read(&mut buffer).await
        && read > 0
    {
        counted.fetch_add(read as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    drop(to.shutdown().await);
}

/// A way upstream, with the task that brings back what comes down it.
struct Way {
    socket: Arc<UdpSocket>,
    back: AbortHandle,
}

async fn udp(socket: Arc<UdpSocket>, upstream: SocketAddr, traffic: Arc<Traffic>) {
    let mut ways: HashMap<SocketAddr, Way> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut place = traffic.place.load(Ordering::Relaxed);
    let mut buffer = vec![0; DATAGRAM];
    while let Ok((read, agent)) = socket.recv_from(&mut buffer).await {
        if traffic.silent.load(Ordering::Relaxed) {
            continue;
        }
        let now = traffic.place.load(Ordering::Relaxed);
        if now != place {
            place = now;
            // What still comes to the old address finds nobody.
            ways.drain().for_each(|(_, way)| way.back.abort());
        }
        if let Entry::Vacant(way) = ways.entry(agent) {
            let Ok(up) = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, place), 0)).await else { continue };
            if up.connect(upstream).await.is_err() {
                continue;
            }
            let up = Arc::new(up);
            let (down, from, traffic) = (socket.clone(), up.clone(), traffic.clone());
            let back = tasks.spawn(async move {
                let mut buffer = vec![0; DATAGRAM];
                while let Ok(read) = from.recv(&mut buffer).await {
                    if traffic.silent.load(Ordering::Relaxed) {
                        continue;
                    }
                    traffic.udp[1].fetch_add(read as u64, Ordering::Relaxed);
                    drop(down.send_to(&buffer[..read], agent).await);
                }
            });
            way.insert(Way { socket: up, back });
        }
        if let Some(way) = ways.get(&agent) {
            traffic.udp[0].fetch_add(read as u64, Ordering::Relaxed);
            drop(way.socket.send(&buffer[..read]).await);
        }
    }
}
