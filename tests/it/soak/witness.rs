//! A witness of the machine: it asks the database itself, by no replica's way, and notes when it is answered late. A machine
//! with other work may stand still for longer than replicas may wait; but they are not believed when they say so.

use super::errors::Spell;
use super::world::World;
use sea_orm::sqlx;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// How often it asks.
const PULSE: Duration = Duration::from_millis(50);

/// What takes longer than this is a stall: the eighth of a lease, where a poll may take a quarter, and there and back by a
/// relay.
const LATE: Duration = Duration::from_millis(250);

/// Asks until it is stopped.
pub(super) async fn watch(world: Arc<World>) {
    loop {
        let mut connection = world.site.hand().await;
        let mut is_answered = true;
        while is_answered {
            let asked = world.now();
            sleep(PULSE).await;
            is_answered = sqlx::query("SELECT 1").execute(&mut connection).await.is_ok();
            let now = world.now();
            let mut weather = world.weather.lock();
            // What is done to the database is known as that.
            if now > asked + PULSE + LATE && !weather.during(asked, now).any(|spell| spell == Spell::Database) {
                weather.0.push((Spell::Stall, asked, Some(now)));
            }
        }
    }
}
