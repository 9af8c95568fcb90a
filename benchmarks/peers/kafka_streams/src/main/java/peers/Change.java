package peers;

import java.util.Map;

/** A change as it stands in the topic. fields is empty for a delete. */
public final class Change {
    public String event_id;
    public String entity_type;
    public String entity_id;
    public String op;
    public String source;
    public long version;
    public long occurred_at;
    public Map<String, Object> fields;
}
