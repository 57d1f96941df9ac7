package piccolo.reviews;

import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.classic.spi.IThrowableProxy;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.slf4j.event.KeyValuePair;
import org.springframework.boot.json.JsonWriter;
import org.springframework.boot.json.JsonWriter.PairExtractor;
import org.springframework.boot.logging.structured.StructuredLogFormatter;

/** A log event as {"ts", "level", "msg", "service", …}: its key-value pairs and the context of its request. */
public class JsonLog implements StructuredLogFormatter<ILoggingEvent> {
    private final JsonWriter<ILoggingEvent> writer = JsonWriter.<ILoggingEvent>of(line -> {
        line.add("ts", event -> event.getInstant().toString());
        line.add("level", event -> event.getLevel().toString().toLowerCase(Locale.ROOT));
        line.add("msg", ILoggingEvent::getFormattedMessage);
        line.add("service", "reviews");
        line.add("logger", ILoggingEvent::getLoggerName).when(name -> !name.startsWith("piccolo."));
        line.from(ILoggingEvent::getMDCPropertyMap).whenNotNull().usingPairs(Map::forEach);
        line.from(ILoggingEvent::getKeyValuePairs).whenNotNull()
                .usingExtractedPairs(List<KeyValuePair>::forEach, PairExtractor.of(pair -> pair.key, pair -> pair.value));
        line.add("error", event -> describe(event.getThrowableProxy())).whenNotNull();
    }).withNewLineAtEnd();

    @Override
    public String format(ILoggingEvent event) {
        return writer.writeToString(event);
    }

    private static String describe(IThrowableProxy thrown) {
        return thrown == null ? null : thrown.getClassName() + ": " + thrown.getMessage();
    }
}
