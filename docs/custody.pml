/* Custody as face_messages does it, with every failure that it is to survive, at any moment and any number of times.

       kept[0] > Sender > broker > Taker > kept[1] > Sender > broker > Taker > kept[2]
       the detector's outbox               the forwarder's                     the bucket

   HOPS is 1 or 2, N is the number of messages, 1 or 2, and WINDOW so many may be unconfirmed on a hop.
   `kept` and `dead` are on disk; all else is in some memory or on a wire. Copies of one message in one place
   count as one. tests/integration/test_model.py has Spin (spinroot.com) try everything; a mutant must not pass. */

#ifndef MUTANT
#define MUTANT 0
#endif
#define RECEIPT_BEFORE_COMMIT  (MUTANT == 1)
#define DISCARD_ON_PUBACK      (MUTANT == 2)
#define NO_DEDUPLICATION       (MUTANT == 3)
#define NO_RESENDING           (MUTANT == 4)     /* neither after a reconnect nor by a timer */
#define NO_TIMER               (MUTANT == 5)
#define TIMER_ALONE            (MUTANT == 6)     /* this one passes: all other resending is for speed */

#define HERE (h * N + i)                         /* message i on hop h, or in the outbox at its beginning */
#define NEXT (h * N + N + i)
#define IN_MEMORY (h > 0 && hand[h * N - N + i] == HELD)  /* Pending: not on disk, and is sent on all the same */
#define LAST(i) ((HOPS - 1) * N + i)             /* the same on the last hop, and behind it in the bucket */

mtype:link   = { UP, CUT, FORGOTTEN };           /* CUT: the broker has the session. FORGOTTEN: CONNACK will say 0 */
mtype:flight = { WAITING, SENT, ACKED };         /* InFlight: to be sent, or again; flying; flying, with its PUBACK */
mtype:queue  = { NONE, QUEUED, GIVEN };          /* the broker has it; and has sent it on the present connection */
mtype:hand   = { NOTHING, HELD, SAFE, REFUSED }; /* Taken: handed over; Taken.safe; Taken.refuse */

byte kept[(HOPS + 1) * N];                       /* rows of an outbox, by message; objects in the bucket */
bool dead[HOPS * N];                            /* Outbox.dead_letter */
mtype:link sender[HOPS];                         /* Session of the sender with the hop's broker */
bool taker[HOPS];                                /* whether the broker has a session of the taker */
mtype:flight flight[HOPS * N];
mtype:queue queue[HOPS * N];
mtype:hand hand[HOPS * N];                       /* in the taker's */
mtype:hand answer[HOPS * N];                     /* receipt or refusal, anywhere between Taken and Sender.received */
bool storm = true;                               /* while things fail */

#ifdef LIVENESS
#define SOME_TIME timeout                        /* a timer is slower than all that happens without it; */
#else
#define SOME_TIME true                           /* for safety it may also be as quick as can be */
#endif

#define FLYING ((flight[h * N] != WAITING) + (N == 2 && flight[h * N + N - 1] != WAITING))
#define ALL(what) for (i : 0 .. N - 1) { what }; i = 0

/* Outbox.discard, the one moment at which something can be lost. What was never written is now safe further on. */
inline discard() {
    assert(kept[NEXT] || dead[HERE] || kept[LAST(i) + N] || dead[LAST(i)]);
    kept[HERE] = 0; flight[HERE] = WAITING;
    if :: IN_MEMORY -> hand[h * N - N + i] = SAFE :: else fi
}

proctype Message(byte h, i) {
end:do
    /* Sender.work. Where the broker has no taker's session nothing comes of it: PUBACK 0x10, and it goes on waiting. */
    :: atomic { (kept[HERE] || IN_MEMORY) && flight[HERE] == WAITING && sender[h] == UP && FLYING < WINDOW &&
                (taker[h] || storm) -> flight[HERE] = SENT;
        if
        :: taker[h] -> queue[HERE] = QUEUED
        :: storm -> sender[h] = CUT
        fi }
    /* Sender.acknowledged */
    :: d_step { flight[HERE] == SENT && sender[h] == UP -> flight[HERE] = ACKED;
        if :: DISCARD_ON_PUBACK -> discard() :: else fi }
    /* Sender._resend_overdue, the last resort */
    :: atomic { flight[HERE] != WAITING && sender[h] == UP && SOME_TIME && !NO_RESENDING && !NO_TIMER ->
        flight[HERE] = WAITING }
    /* Taker.received */
    :: d_step { queue[HERE] == QUEUED -> queue[HERE] = GIVEN;
        if :: hand[HERE] == NOTHING -> hand[HERE] = HELD :: else fi }
    /* Outbox.put and its commit, or Store.put: of each id one. A keeper may also refuse what it does not have. */
    :: atomic { hand[HERE] == HELD -> hand[HERE] = SAFE;
        if
        :: !kept[NEXT] || NO_DEDUPLICATION -> kept[NEXT]++; assert(kept[NEXT] == 1)
        :: kept[NEXT] && !NO_DEDUPLICATION
        :: !kept[NEXT] -> hand[HERE] = REFUSED
        fi }
    :: d_step { hand[HERE] == HELD && RECEIPT_BEFORE_COMMIT -> answer[HERE] = SAFE }
    /* Taker.work: PUBACK, if it came on this connection, and receipt or refusal */
    :: d_step { hand[HERE] == SAFE || hand[HERE] == REFUSED -> answer[HERE] = hand[HERE]; hand[HERE] = NOTHING;
        if :: queue[HERE] == GIVEN -> queue[HERE] = NONE :: else fi }
    /* Sender.received; the broker may send an answer twice */
    :: atomic { answer[HERE] != NOTHING && sender[h] == UP ->
        if
        :: kept[HERE] || IN_MEMORY -> dead[HERE] = (dead[HERE] || answer[HERE] == REFUSED); discard()
        :: else -> flight[HERE] = WAITING
        fi;
        if :: answer[HERE] = NOTHING :: storm fi }
    od
}

proctype Sessions(byte h) {
    byte i;
end:do
    /* InFlight.link_is_new: all, where CONNACK says that the session is not present, or else what has no PUBACK */
    :: d_step { sender[h] != UP ->
        ALL(if :: (flight[HERE] == SENT || sender[h] == FORGOTTEN) && !NO_RESENDING && !TIMER_ALONE ->
                   flight[HERE] = WAITING :: else fi);
        sender[h] = UP }
    :: d_step { !taker[h] -> taker[h] = true }
    od
}

/* The taker lost its connection and has a new one, which may take any time; the sender has none for now. */
#define TAKE_AGAIN ALL(if :: queue[HERE] == GIVEN -> queue[HERE] = QUEUED :: else fi)
#define CUT_OFF    if :: sender[h] == UP -> sender[h] = CUT :: else fi

proctype Failures(byte h) {
    byte i;
end:do
    :: d_step { storm -> CUT_OFF }
    :: d_step { storm -> TAKE_AGAIN }
    /* the taker's session ends; and so does everybody's when the broker dies */
    :: d_step { storm -> taker[h] = false; ALL(queue[HERE] = NONE) }
    :: d_step { storm -> sender[h] = FORGOTTEN; taker[h] = false; ALL(queue[HERE] = NONE) }
    /* the broker drops what it has acknowledged, its queue being full; an answer is lost, anywhere */
    :: atomic { storm -> select(i : 0 .. N - 1); queue[HERE] = NONE; i = 0 }
    :: atomic { storm -> select(i : 0 .. N - 1); answer[HERE] = NOTHING; i = 0 }
    /* the sender dies, and as the forwarder it is the taker of the hop before; then the last taker, the saver */
    :: d_step { storm -> CUT_OFF; ALL(flight[HERE] = WAITING);
        if :: h > 0 -> h--; TAKE_AGAIN; ALL(hand[HERE] = NOTHING); h++ :: else fi }
    :: d_step { storm && h == HOPS - 1 -> TAKE_AGAIN; ALL(hand[HERE] = NOTHING) }
    od
}

init {
    byte h, i;
    atomic {
        for (h : 0 .. HOPS - 1) {
            sender[h] = FORGOTTEN;
            for (i : 0 .. N - 1) {
                kept[i] = 1; flight[HERE] = WAITING; queue[HERE] = NONE; hand[HERE] = NOTHING; answer[HERE] = NOTHING;
                run Message(h, i)
            }
            run Sessions(h); run Failures(h)
        }
        h = 0; i = 0
    }
#ifdef LIVENESS
    storm = false                                /* one day */
#endif
}

#ifdef LIVENESS
#define ARRIVED(i) (!kept[i] && !kept[LAST(i)] && (kept[LAST(i) + N] == 1 || dead[i] || dead[LAST(i)]))
ltl arrive { [] (!storm -> <> (ARRIVED(0) && ARRIVED(N - 1))) }
#endif
