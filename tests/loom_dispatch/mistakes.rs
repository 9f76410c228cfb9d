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
    ("ready_in_silence", "what becomes ready wakes nobody", "ready::a_push_wakes_who_waits"),
    (
        "woken_and_gone",
        "who was woken for something and goes away tells nobody",
        "ready::who_goes_away_leaves_it_to_another",
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
    (
        "relief_not_called",
        "the relief does not hear that a worker asks for its duty",
        "baton::the_relief_hears_that_it_is_asked_to_leave",
    ),
    ("taken_from_inside", "a worker takes the duty while the relief does it", "baton::a_worker_asks_and_gives_back"),
    ("word_not_compared", "a worker that had the duty once moves it on", "baton::one_that_had_it_cannot_give_it_away"),
    ("never_taken_back", "one that hangs keeps the duty", "baton::the_duty_is_taken_from_one_that_hangs"),
    (
        "no_fence_after_wait",
        "the holder may look for a dozing relief before it is seen awake",
        "baton::a_doze_races_the_end_of_a_wait",
    ),
    (
        "no_fence_before_doze",
        "the relief may look at the holder before it is seen dozing",
        "baton::a_doze_races_the_end_of_a_wait",
    ),
    (
        "dozes_without_looking",
        "the relief dozes although the holder waits no more",
        "baton::a_doze_races_the_end_of_a_wait",
    ),
    ("relief_sleeps_on", "the holder does not wake the relief", "baton::the_relief_wakes_from_its_doze"),
    ("closed_in_silence", "the relief does not hear of the close", "baton::a_close_races_a_worker_that_asks"),
    ("opened_after_close", "a worker gets the duty after the close", "baton::a_close_races_a_worker_that_asks"),
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
