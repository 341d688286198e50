package dataferry.conformance;

import java.io.IOException;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;
import org.eclipse.dataspacetck.dps.system.DpsSystemLauncher;
import org.eclipse.dataspacetck.runtime.TckRuntime;

/**
 * Runs every data plane test of the kit against the plane that a properties file names.
 *
 * <p>What became of each test is written by {@link Outcomes}. The exit code says only that the kit ran.
 */
public final class Conformance {

    private static final String DATA_PLANE_TESTS = "org.eclipse.dataspacetck.dps.verification.dataplane";

    private Conformance() {
    }

    /**
     * Runs the kit.
     *
     * @param arguments the properties file: the kit's own settings, and {@link Outcomes#FILE}
     * @throws IOException if the file cannot be read
     */
    public static void main(String[] arguments) throws IOException {
        TckRuntime.Builder.newInstance()
                .properties(read(Path.of(arguments[0])))
                .launcher(DpsSystemLauncher.class)
                .addPackage(DATA_PLANE_TESTS)
                .build()
                .execute();
        // The kit's HTTP client leaves threads behind.
        System.exit(0);
    }

    private static Map<String, String> read(Path file) throws IOException {
        var properties = new Properties();
        try (Reader reader = Files.newBufferedReader(file)) {
            properties.load(reader);
        }
        return properties.stringPropertyNames().stream()
                .collect(Collectors.toMap(name -> name, properties::getProperty));
    }
}
