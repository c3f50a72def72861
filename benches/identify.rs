//! What a search costs at worst: a request with a usual head, of which nothing matches, so that the whole space is
//! searched. `cargo bench --all-features --bench identify` prints medians, and the processors' time; `-- 65536` measures
//! one length.

use std::time::Instant;

use countersign::identify::{Captured, Search};
use countersign::{Secret, Timestamp};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn main() {
    let lengths: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let lengths = if lengths.is_empty() { vec![1 << 10, 1 << 16, 1 << 20] } else { lengths };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{threads} processors; nothing matches");
    println!("{:>9} {:>8} {:>10} {:>10} {:>10} {:>10}", "body", "secrets", "MACs", "median", "slowest", "CPU");
    for length in lengths {
        for secrets in [1, 2] {
            row(length, secrets);
        }
    }
}

fn row(length: usize, secrets: usize) {
    let runs = if length > 1 << 18 { 3 } else { 9 };
    let secrets: Vec<Secret> =
        (0..secrets).map(|at| Secret::new(SECRET.replace('9', &at.to_string())).expect("a secret")).collect();
    let mut times = Vec::new();
    let mut tried = 0;
    let before = cpu_seconds();
    for _ in 0..runs {
        let search = Search::new(&secrets, captured(length), Timestamp::from_secs(1_790_000_000));
        let start = Instant::now();
        let report = search.run();
        times.push(start.elapsed().as_secs_f64());
        assert!(report.matches.is_empty(), "nothing matches");
        assert_eq!(report.ruled_out.skipped, 0, "the whole space");
        tried = report.tried;
    }
    let cpu = (cpu_seconds() - before) / f64::from(runs) * 1e3;
    times.sort_by(f64::total_cmp);
    let (median, slowest) = (times[times.len() / 2] * 1e3, times[times.len() - 1] * 1e3);
    let secrets = secrets.len();
    println!("{length:>9} {secrets:>8} {tried:>10} {median:>7.1} ms {slowest:>7.1} ms {cpu:>7.1} ms");
}

/// The time that all threads have spent on a processor, which a busy machine does not lengthen; 0 where there is no /proc.
fn cpu_seconds() -> f64 {
    // The 14th and 15th field, in hundredths of a second (proc_pid_stat(5)); the second may hold spaces, in brackets.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// A delivery of Standard Webhooks behind a proxy or two, with a signature that is nobody's.
fn captured(length: usize) -> Captured {
    let mut body = String::from(r#"{"id":"evt_1","type":"screening.completed","data":{"list":["#);
    for number in 0.. {
        let item = format!(r#"{{"name":"J\u00fcrgen / {number}","score":{number}.50}},"#);
        if body.len() + item.len() + 5 > length {
            break;
        }
        body.push_str(&item);
    }
    body.push_str("0]}}");
    body.push_str(&" ".repeat(length.saturating_sub(body.len() + 1)));
    body.push('\n');
    let headers = [
        ("host", "hooks.example.com"),
        ("user-agent", "Svix-Webhooks/1.61"),
        ("content-type", "application/json"),
        ("content-length", &*body.len().to_string()),
        ("accept", "*/*"),
        ("accept-encoding", "gzip, br"),
        ("connection", "keep-alive"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "hooks.example.com"),
        ("via", "1.1 proxy"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-request-id", "8f14e45f-ceea-467f-9d5b-3b1d2f0c0b1a"),
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1789999990"),
        (
            "webhook-signature",
            "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= v1,BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ),
        ("x-event-type", "screening.completed"),
        ("x-tenant", "acme"),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    Captured::new(headers, body).request_line("POST", "/webhooks/kycgenie?tenant=7")
}
