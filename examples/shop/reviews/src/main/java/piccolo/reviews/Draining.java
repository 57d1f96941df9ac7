package piccolo.reviews;

import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.context.annotation.Lazy;
import org.springframework.context.event.ContextClosedEvent;
import org.springframework.context.event.EventListener;
import org.springframework.stereotype.Component;

/** Knows that the process was told to stop, before the server stops listening. */
@Component
@Lazy(false)
public class Draining {
    private static final Logger LOG = LoggerFactory.getLogger(Draining.class);
    private volatile boolean active;

    @EventListener
    void closing(ContextClosedEvent event) {
        active = true;
        LOG.info("draining");
    }

    public boolean active() {
        return active;
    }
}
