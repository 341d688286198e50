package dataferry.conformance;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.support.descriptor.MethodSource;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;

/**
 * Writes one line for each test: its method, its status, its title and the reason of a failure, with tabs between.
 *
 * <p>The launcher finds it as a service. A container that fails, or a test that is skipped, is a line as well:
 * nothing is lost silently.
 */
public final class Outcomes implements TestExecutionListener {

    /** System property with the path of the file to write. */
    public static final String FILE = "dataferry.outcomes";

    private static final int LONGEST_REASON = 2000;

    @Override
    public void executionFinished(TestIdentifier test, TestExecutionResult result) {
        var failed = result.getStatus() != TestExecutionResult.Status.SUCCESSFUL;
        if (test.isTest() || failed) {
            write(test, failed ? "failed" : "passed", result.getThrowable().map(Throwable::toString).orElse(""));
        }
    }

    @Override
    public void executionSkipped(TestIdentifier test, String reason) {
        write(test, "skipped", reason);
    }

    private static void write(TestIdentifier test, String status, String reason) {
        var method = test.getSource()
                .filter(MethodSource.class::isInstance)
                .map(source -> ((MethodSource) source).getMethodName())
                .orElse(test.getUniqueId());
        var line = Stream.of(method, status, test.getDisplayName(), reason)
                .map(Outcomes::onOneLine)
                .collect(Collectors.joining("\t", "", "\n"));
        try {
            Files.writeString(
                    Path.of(System.getProperty(FILE)), line, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static String onOneLine(String text) {
        var line = text.replaceAll("\\s+", " ").strip();
        return line.length() > LONGEST_REASON ? line.substring(0, LONGEST_REASON) : line;
    }
}
