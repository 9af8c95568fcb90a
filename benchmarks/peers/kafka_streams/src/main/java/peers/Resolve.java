package peers;

import java.time.Duration;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/** One change after the other: state, golden record, and the view where there is one. */
final class Resolve extends ContextualProcessor<byte[], Change, byte[], byte[]> {
    static final String STORE = "states";
    private static final Duration VIEW_SYNC = Duration.ofMillis(50);

    private final String redis;
    private KeyValueStore<byte[], Entity> states;
    private View view;

    Resolve(String redis) {
        this.redis = redis;
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
        super.init(context);
        states = context.getStateStore(STORE);
        if (redis != null) {
            view = new View(redis);
            context.schedule(VIEW_SYNC, PunctuationType.WALL_CLOCK_TIME, now -> view.sync());
        }
    }

    @Override
    public void process(Record<byte[], Change> record) {
        byte[] key = record.key();
        Change change = record.value();
        Entity entity = states.get(key);
        if (entity == null) {
            entity = new Entity();
        }
        if (!entity.fold(change)) {
            return;
        }
        states.put(key, entity);
        byte[] golden = Json.bytes(entity.golden(change));
        context().forward(record.withValue(golden));
        if (view != null) {
            view.set(key, golden);
        }
    }

    @Override
    public void close() {
        if (view != null) {
            view.close();
        }
    }
}
