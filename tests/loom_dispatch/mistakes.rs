//! The tests can fail: each mistake that the sources can be told to make is caught by the test that guards against it.

use std::process::Command;

/// A mistake by its name in the sources, what it amounts to, and the test that must fail.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "no_fence_after_push",
        "the submitter may read `sleeping` before its push is seen",
        "park::a_push_wakes_the_sleeper",
    ),
    (
        "no_fence_before_recheck",
        "the sleeper may look around before it is seen asleep",
        "park::a_push_wakes_the_sleeper",
    ),
    ("no_recheck", "the sleeper does not look around once more", "park::a_push_wakes_the_sleeper"),
    ("notify_without_lock", "the notification falls between look and sleep", "park::a_push_wakes_the_sleeper"),
    (
        "own_sleeper_only",
        "a push wakes the lane's own worker or nobody",
        "park::a_push_to_a_busy_lane_wakes_another_sleeper",
    ),
    ("token_dropped", "who was woken for one task and took another tells nobody", "park::a_token_is_passed_on"),
    (
        "rise_without_looking",
        "a sleeper gets up without seeing that it was woken",
        "park::a_timeout_races_a_push_to_another_lane",
    ),
    ("waker_not_called", "who sleeps elsewhere is not woken", "elsewhere::a_push_wakes_who_sleeps_elsewhere"),
    (
        "others_not_called",
        "a worker with tasks of its own does something long and tells nobody",
        "elsewhere::others_are_called_for_own_tasks",
    ),
    ("close_without_wake", "sleepers do not hear of the close", "close::close_wakes_the_sleeper"),
    (
        "exit_with_open_queues",
        "a worker exits while a queue accepts tasks",
        "close::submit_to_the_overflow_races_close",
    ),
    ("sweep_without_lock", "the queues are closed while a search has a task in hand", "stale::a_search_races_close"),
    ("replace_without_wake", "a sleeper does not hear that it was replaced", "lost::a_sleeper_is_replaced"),
    ("replace_drops_token", "a replaced worker's wakeup is lost", "lost::the_wakeup_of_a_replaced_worker_is_passed_on"),
    ("epoch_not_checked", "a replaced worker goes on", "lost::the_old_worker_takes_nothing_more"),
    (
        "counted_twice",
        "a task's end is counted by old worker and replacement",
        "lost::a_task_ends_while_its_worker_is_replaced",
    ),
    ("second_send_wins", "the second completer overwrites the answer", "reply::a_late_completion_races_the_timeout"),
    ("send_without_wake", "an answer does not wake the caller", "reply::an_answer_reaches_the_caller"),
    ("lost_without_wake", "the last sender leaves in silence", "reply::the_reply_is_lost_when_both_completers_leave"),
    (
        "renew_with_senders",
        "a slot is made anew while somebody can still answer the task before",
        "reply::a_late_completion_never_answers_the_next_task",
    ),
    (
        "woken_before_gone",
        "the caller is woken while the sender still has the slot",
        "reply::a_caller_that_was_woken_can_renew_its_slot",
    ),
    ("expire_ignores_start", "a task that runs expires all the same", "reply::start_races_expire"),
];

#[test]
fn every_mistake_is_caught() {
    let tests = std::env::current_exe().unwrap();
    for (mistake, what, test) in MISTAKES {
        let mut command = Command::new(&tests);
        // An assertion that fails inside a model may take the process down when loom unwinds it: another process it is.
        command.args(["--exact", test]).env("POLYGIL_BROKEN", mistake).env("RUST_BACKTRACE", "0");
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{test} passes although {what} ({mistake})");
        println!("{mistake:24} ({what}) is caught by {test}");
    }
}
