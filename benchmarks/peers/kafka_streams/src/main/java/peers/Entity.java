package peers;

import com.fasterxml.jackson.annotation.JsonFormat;
import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;

/** The state of an entity, and the fold of fold.py: the last update wins, within a second the source with priority. */
public final class Entity {
    private static final Map<String, Integer> RANK = Map.of("crm", 0, "billing", 1, "web", 2);
    private static final long CONVERGENCE_WINDOW_MS = 1_000;

    /** A value with the time and the source that wrote it. */
    @JsonFormat(shape = JsonFormat.Shape.ARRAY)
    @JsonPropertyOrder({"value", "at", "source"})
    public static final class Held {
        public Object value;
        public long at;
        public String source;
    }

    /** What is served of an entity. */
    public static final class Golden {
        public String entity_type;
        public String entity_id;
        public String event_id;
        public boolean deleted;
        public Map<String, Object> fields;
        public int conflicts;
    }

    public Map<String, Held> fields = new LinkedHashMap<>();
    public Held deleted;
    public Map<String, Long> versions = new HashMap<>();
    public int conflicts;

    /** Adds a change; false for a duplicate, which adds nothing. */
    boolean fold(Change change) {
        if (change.version <= versions.getOrDefault(change.source, 0L)) {
            return false;
        }
        versions.put(change.source, change.version);
        Boolean isDelete = change.op.equals("delete");
        if (wins(deleted, isDelete, change)) {
            deleted = held(isDelete, change);
        }
        for (Map.Entry<String, Object> field : change.fields.entrySet()) {
            if (wins(fields.get(field.getKey()), field.getValue(), change)) {
                fields.put(field.getKey(), held(field.getValue(), change));
            }
        }
        return true;
    }

    /** The golden record after a change. */
    Golden golden(Change change) {
        Golden golden = new Golden();
        golden.entity_type = change.entity_type;
        golden.entity_id = change.entity_id;
        golden.event_id = change.event_id;
        golden.deleted = (Boolean) deleted.value;
        golden.fields = new LinkedHashMap<>();
        fields.forEach((name, held) -> golden.fields.put(name, held.value));
        golden.conflicts = conflicts;
        return golden;
    }

    private boolean wins(Held held, Object value, Change change) {
        if (held == null) {
            return true;
        }
        long laterMs = change.occurred_at - held.at;
        if (!change.source.equals(held.source)
                && !value.equals(held.value)
                && Math.abs(laterMs) < CONVERGENCE_WINDOW_MS) {
            conflicts++;
            return RANK.get(change.source) < RANK.get(held.source);
        }
        return laterMs > 0;
    }

    private static Held held(Object value, Change change) {
        Held held = new Held();
        held.value = value;
        held.at = change.occurred_at;
        held.source = change.source;
        return held;
    }
}
