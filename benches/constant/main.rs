//! A server on smol that answers every request with the same bytes: what is left when Python, parsing and routing are taken away.
//!
//!     cargo run --release --example constant -- PORT
//!
//! `make bench` measures it as the ceiling. One thread, one task per connection, one write per batch of pipelined requests. A request
//! is whatever ends in an empty line: requests with content are not for it.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, LocalExecutor};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 17\r\n\
    date: Mon, 23 Nov 2026 12:00:00 GMT\r\n\r\n{\"hello\":\"world\"}";

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(8000);
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(async {
        let listener = Async::<TcpListener>::bind((Ipv4Addr::LOCALHOST, port))?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.get_ref().set_nodelay(true)?;
            executor.spawn(answer(stream)).detach();
        }
    }))
}

/// Answers until the client leaves; a broken connection is the client's affair.
async fn answer(mut stream: Async<TcpStream>) {
    let mut buffer = [0; 16 * 1024];
    let (mut out, mut matched) = (Vec::new(), 0);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        out.clear();
        for &byte in &buffer[..count] {
            // How much of CR LF CR LF has been seen; it may be split between two reads.
            matched = match (matched, byte) {
                (0 | 2, b'\r') => matched + 1,
                (1 | 3, b'\n') => matched + 1,
                (_, b'\r') => 1,
                _ => 0,
            };
            if matched == 4 {
                out.extend_from_slice(ANSWER);
                matched = 0;
            }
        }
        if stream.write_all(&out).await.is_err() {
            return;
        }
    }
}
