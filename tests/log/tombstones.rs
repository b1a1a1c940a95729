//! Ids of events that are gone.

use std::sync::atomic::Ordering;
use std::time::Duration;

use logux_sync::{AddError, Criteria, Draft, EventId, Log, LogOptions, Timestamp};

use crate::stores::{NOW, all, clock, each, each_with};

fn id(time: u64) -> EventId {
    EventId::new(Timestamp::new(time).unwrap(), "10:client".parse().unwrap())
}

#[tokio::test]
async fn a_late_copy_of_an_event_that_is_gone_does_not_come_back() {
    each(async |log: Log<u64>| {
        let draft = || Draft::new(1).id(id(NOW)).reason("a");
        let entry = log.add(draft()).await.unwrap();
        log.remove_reasons(["a"], Criteria::all()).await.unwrap();
        match log.add_batch([Draft::new(2), draft()]).await {
            Err(AddError::Gone { place: 2, id }) => assert_eq!(id, entry.meta.id),
            other => panic!("{other:?}"),
        }
        assert_eq!(log.last_added(), entry.meta.added);
        log.add(Draft::new(3).id(id(NOW + 1))).await.unwrap();
        assert_eq!(all(&log).await, [3]);
    })
    .await;
}

#[tokio::test]
async fn what_is_remembered_is_bounded_and_what_may_be_forgotten_is_refused() {
    let (time, clock) = clock();
    let day = 24 * 60 * 60 * 1000;
    let options =
        || LogOptions::new().clock(clock.clone()).remember(Duration::from_secs(48 * 60 * 60), 3);
    each_with(options, async |log: Log<u64>| {
        time.store(NOW, Ordering::Relaxed);
        let times = [1, 2, 3, 4, 5].map(|n| NOW + 10 * n);
        for time in times {
            log.add(Draft::new(time).id(id(time))).await.unwrap();
        }
        log.clean(Criteria::all()).await.unwrap();
        // Three are remembered; the others, and all before them, may have been here.
        for refused in [times[4], times[0], times[0] - 5, times[1] - 1] {
            let added = log.add(Draft::new(0).id(id(refused))).await;
            assert!(matches!(added, Err(AddError::Gone { place: 1, .. })), "{added:?}");
        }
        log.add(Draft::new(1).id(id(times[1] + 1))).await.unwrap();
        let other = EventId::new(Timestamp::new(times[0]).unwrap(), "11:other".parse().unwrap());
        log.add(Draft::new(2).id(other)).await.unwrap();
        // Time passes, and something else is cleaned.
        time.store(NOW + 3 * day, Ordering::Relaxed);
        log.clean(Criteria::all().ids([id(times[1] + 1)])).await.unwrap();
        let added = log.add(Draft::new(3).id(id(times[3] + 1))).await;
        assert!(matches!(added, Err(AddError::Gone { .. })), "{added:?}");
        log.add(Draft::new(4).id(id(times[4] + 1))).await.unwrap();
        assert_eq!(all(&log).await, [2, 4]);
    })
    .await;
}
