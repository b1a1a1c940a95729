//! One user's events, everywhere in a log.

use logux_sync::{Criteria, Draft, EventId, Log, Timestamp};

use crate::stores::{NOW, all, each};

#[tokio::test]
async fn a_user_is_erased_and_nobody_else() {
    each(async |log: Log<u64>| {
        let nodes = ["10:a:1", "10:b:2", "101:a:1", "1:10:x", "server", "10"];
        for (number, node) in (0..).zip(nodes).chain((6..).zip(nodes)) {
            let id = EventId::new(Timestamp::new(NOW + number).unwrap(), node.parse().unwrap());
            log.add(Draft::new(number).id(id).reason("keep").index("all")).await.unwrap();
        }
        let waiting = |node: &str| {
            let id = EventId::new(Timestamp::new(NOW).unwrap(), node.parse().unwrap());
            Draft::new(100).id(id)
        };
        log.hand_in("queue", [waiting("10:c:1"), waiting("11:c:1")]).await.unwrap();
        let effects = log.erase_user("10").await.unwrap();
        let mut inbox = log.inbox("queue").unwrap();
        let left = inbox.next().await.unwrap();
        assert_eq!(left.entry().meta.id.node().as_str(), "11:c:1");
        left.settle(|_| Vec::new()).await.unwrap();
        assert_eq!(log.inboxes().await.unwrap(), [""; 0]);
        assert_eq!(effects.cleaned, 6);
        assert_eq!(all(&log).await, [2, 3, 4, 8, 9, 10]);
        assert_eq!(log.erase_user("10").await.unwrap().cleaned, 0);
        assert_eq!(log.erase_user("server").await.unwrap().cleaned, 2);
        log.clean(Criteria::all()).await.unwrap();
        assert_eq!(log.count().await.unwrap(), 0);
    })
    .await;
}
