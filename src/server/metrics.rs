//! An [`Overview`] as Prometheus reads it: OpenMetrics text, made by the project's own client library.
//!
//! The names say what is counted and in which unit, as Prometheus' naming rules want it; every label has a fixed and small set of
//! values, whatever clients send. A counter never goes back while the process lives.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::overview::{Health, Overview};

/// The media type of [`text`] (OpenMetrics 1.0).
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one server.
pub fn text(overview: Overview) -> String {
    let mut registry = Registry::with_prefix("polygil");
    registry.register_collector(Box::new(Once(overview)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes it");
    text
}

#[derive(Debug)]
struct Once(Overview);

type Labels<'l> = [(&'static str, &'l str); 1];

struct Page<'e>(DescriptorEncoder<'e>);

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(count).encode(metric)
    }

    fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        counts: impl IntoIterator<Item = (&'l str, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value, count) in counts {
            let labels: Labels<'_> = [(label, value)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (String, impl EncodeGaugeValue)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (value, gauge) in values {
            let labels: Labels<'_> = [(label, &value)];
            ConstGauge::new(gauge).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Collector for Once {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Overview { stats, pool, queue_depths, workers, io, log, memory, .. } = &self.0;
        let mut page = Page(encoder);
        let ready = self.0.health == Health::Ready;
        page.gauge("ready", "1 while the server accepts and serves, else 0", i64::from(ready))?;

        page.counter("connections_accepted", "Connections taken from the listeners", stats.connections_accepted)?;
        let closed = stats.connections_closed_by_reason.0.iter().copied();
        page.counters("connections_closed", "Connections that ended, by reason", "reason", closed)?;
        page.gauge("connections_active", "Open connections", stats.connections_active as i64)?;
        page.counter("accept_errors", "Failed attempts to take a connection", stats.accept_errors)?;
        page.counter("received_bytes", "Bytes read from sockets", stats.bytes_read)?;
        page.counter("sent_bytes", "Bytes handed to sockets", stats.bytes_written)?;

        let received = "Requests whose head is complete, and refused bytes that never became one";
        page.counter("requests_received", received, stats.requests_received)?;
        page.gauge("requests_in_flight", "Requests without their answer so far", stats.requests_in_flight as i64)?;
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(stats.answers_by_class);
        page.counters("responses", "Answers written in full, by status class", "class", classes)?;
        let dropped = stats.requests_dropped_by_reason.0.iter().copied();
        let help = "Requests that got no answer, by why their connection ended";
        page.counters("requests_dropped", help, "reason", dropped)?;

        let help = "Content in memory, of requests and of answers that wait to be sent";
        page.gauge("buffered_bytes", help, memory.buffered_bytes as i64)?;
        page.gauge("unsent_bytes", "Content of answers that wait to be sent", memory.unsent_bytes as i64)?;
        let help = "Requests that were answered 503 because their content or their answer had no room";
        page.counter("requests_without_room", help, memory.refused)?;
        let help = "What connections that are over have read and thrown away so that their clients can read the answer";
        page.gauge("lingering_bytes", help, memory.lingering_bytes as i64)?;

        page.counter("tasks_submitted", "Requests handed to the workers' queues", pool.submitted)?;
        let outcomes = self.0.outcomes().0;
        page.counters("tasks_ended", "Tasks by what became of them", "outcome", outcomes)?;
        page.gauge("tasks_waiting", "Tasks that wait for a worker", pool.waiting as i64)?;
        page.gauge("tasks_running", "Tasks that a worker runs", pool.running as i64)?;
        let lanes = queue_depths.lanes.iter().enumerate().map(|(index, depth)| (index.to_string(), *depth as i64));
        let overflow = [("overflow".to_owned(), queue_depths.overflow as i64)];
        page.gauges("queue_depth", "Tasks that wait in each queue", "queue", lanes.chain(overflow))?;
        let help = "How long the oldest request that waits for a worker has waited";
        page.gauge("oldest_wait_seconds", help, self.0.oldest_wait_seconds)?;

        page.gauge("workers", "Workers", workers.count as i64)?;
        page.gauge("workers_busy", "Workers that run a task", workers.busy as i64)?;
        let running = workers.running.iter().map(|running| (running.worker.to_string(), running.seconds));
        page.gauges("worker_running_seconds", "How long each busy worker runs its task", "worker", running)?;
        page.counter("handlers_interrupted", "Handlers that were over their time budget", workers.interrupted)?;
        page.counter("workers_replaced", "Workers that were lost and replaced", workers.replaced)?;
        let help = "Lost workers that may be replaced now before the server stops instead";
        page.gauge("replacements_left", help, workers.replacements_left as i64)?;
        let help = "Interpreters of replaced workers in which something still runs";
        page.gauge("interpreters_left", help, workers.interpreters_left as i64)?;

        page.gauge(
            "io_by_worker",
            "1 while a worker does the I/O, 0 while its own thread does",
            i64::from(io.worker.is_some()),
        )?;
        let handovers = [("taken", io.taken), ("given_back", io.given_back), ("taken_back", io.taken_back)];
        let help = "How often the I/O was taken by an idle worker, given back by it, and taken back from a slow one";
        page.counters("io_handovers", help, "kind", handovers)?;

        page.counter("log_lines_written", "Lines of the log that were written", log.lines_written)?;
        let lost = [("access", log.access_lines_lost), ("other", log.lines_lost)];
        page.counters("log_lines_lost", "Lines of the log that could not be written, or found no room", "kind", lost)
    }
}
