//! Properties that hold for any bytes and any cut.

use proptest::prelude::*;

use super::*;

/// Requests good and bad, to be strung together and cut.
const FRAGMENTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD /x?y HTTP/1.1\r\nHost: a\r\nConnection: x\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nGET / H",
    b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nT: v\r\n\r\n",
    b"\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n!",
    b"GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/2.0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nbad\r\n\r\n",
    b"GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\nx\r\n0\r\n\r\n",
];

fn tight() -> Limits {
    Limits {
        target_bytes_max: 40,
        headers_bytes_max: 120,
        headers_count_max: 4,
        body_bytes_max: 40,
        chunk_extensions_bytes_max: 20,
        trailers_bytes_max: 16,
        trailers_count_max: 1,
        requests_per_connection_max: 5,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_of_the_same_bytes_gives_the_same_events(
        fragments in proptest::collection::vec(proptest::sample::select(FRAGMENTS), 1..5),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..3),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        bytewise: bool,
        eof: bool,
    ) {
        let mut bytes = fragments.concat();
        for (place, value) in flips {
            let index = place.index(bytes.len());
            bytes[index] = value;
        }
        let mut ends: Vec<usize> = if bytewise {
            (1..=bytes.len()).collect()
        } else {
            cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([bytes.len()]).collect()
        };
        ends.sort_unstable();
        let mut start = 0;
        let pieces: Vec<&[u8]> = ends.iter().map(|&end| {
            let piece = &bytes[start..end];
            start = end;
            piece
        }).collect();
        prop_assert_eq!(run_with(tight(), &pieces, eof), run_with(tight(), &[&bytes], eof));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        run_with(tight(), &[&bytes], true);
    }
}
