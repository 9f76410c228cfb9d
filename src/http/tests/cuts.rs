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
    b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
    b"GET / HTTP/1.1\rXHost: a\r\n\r\n",
    b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 41\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0000000000000000001\r\nx\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a=\"b\r\nx\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 ; a = \"b\"\r\nx\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n",
    b"MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM / HTTP/1.1\r\n\r\n",
    b"MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM",
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
        strict_targets: false,
    }
}

/// A valid request in odd but legal spelling, and what is to be seen of it.
fn printable() -> impl Strategy<Value = (Vec<u8>, Vec<Seen>)> {
    let field = (
        "[xyz][a-zA-Z0-9!#$%&'*+.^_`|~-]{0,8}",
        "[ \t]{0,3}",
        "([!-~]([ -~\u{80}-\u{ff}]{0,12}[!-~])?)?",
        "[ \t]{0,3}",
    );
    let fields = proptest::collection::vec(
        field.prop_map(|(n, before, value, after)| format!("{n}:{before}{value}{after}\r\n")),
        0..5,
    );
    let method = "[A-Z][a-zA-Z!#$%&'*+.^_`|~-]{0,10}";
    let target = "/([!$&-;=@-Z_a-z~\\[\\]|]|%[0-9a-fA-F]{2}){0,10}(\\?[!$-;=?-~]{0,20})?";
    let chunks = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..30), 0..4);
    let extension = "([ \t]{0,2};[ \t]{0,2}[a-z]{1,4}([ \t]{0,2}=[ \t]{0,2}([a-z]{1,4}|\"[a-z ;=]{0,6}\"))?){0,2}";
    (method, target, fields, chunks, extension, any::<bool>(), "0{0,4}", "(t: u\r\n){0,2}", "(\r\n){0,2}").prop_map(
        |(method, target, fields, chunks, extension, chunked, zeros, trailers, empty_lines)| {
            let content = chunks.concat();
            let framing = match chunked {
                true => "tRaNsFeR-EnCoDiNg:\tcHuNkEd \r\n".to_owned(),
                false => format!("CONTENT-LENGTH:{zeros}{}\t\r\n", content.len()),
            };
            let fields = fields.concat();
            let head = format!("{empty_lines}{method} {target} HTTP/1.1\r\n{fields}hOsT:a\r\n{framing}\r\n");
            let mut bytes = head.into_bytes();
            if chunked {
                for chunk in &chunks {
                    bytes.extend(format!("{zeros}{:X}{extension}\r\n", chunk.len()).bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(format!("{zeros}0{extension}\r\n{trailers}\r\n").bytes());
            } else {
                bytes.extend(&content);
            }
            let mut seen = vec![Seen::Head(format!("{method} {target}"))];
            if !content.is_empty() {
                seen.push(Seen::Body(content));
            }
            seen.push(Seen::End);
            (bytes, seen)
        },
    )
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

    /// What is printed as a request is read back as that request, and the next one begins behind it.
    #[test]
    fn what_is_printed_is_read_back(
        requests in proptest::collection::vec(printable(), 1..4),
        size in 1..200usize,
    ) {
        let bytes = requests.iter().map(|(bytes, _)| &bytes[..]).collect::<Vec<_>>().concat();
        let expected: Vec<_> = requests.iter().flat_map(|(_, seen)| seen.clone()).collect();
        let pieces: Vec<_> = bytes.chunks(size).collect();
        prop_assert_eq!(run_with(Limits::default(), &pieces, false).0, expected);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        run_with(tight(), &[&bytes], true);
    }
}
