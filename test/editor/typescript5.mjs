// TypeScript 5.9, through the API of its language service.
import ts from "typescript-5.9"

export const title = `TypeScript ${ts.version}`

/** Opens the project. An editor gives completions, a hover and diagnostics of a file. */
export const open = ({ folder, configPath, files, fixtureFile }) => {
  const { config } = ts.readConfigFile(configPath, ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, folder)
  const paths = [fixtureFile, ...files].map(({ path }) => path)
  const service = ts.createLanguageService({
    directoryExists: ts.sys.directoryExists,
    fileExists: ts.sys.fileExists,
    getDirectories: ts.sys.getDirectories,
    readDirectory: ts.sys.readDirectory,
    readFile: ts.sys.readFile,
    realpath: ts.sys.realpath,
    getCompilationSettings: () => options,
    getCurrentDirectory: () => folder,
    getDefaultLibFileName: ts.getDefaultLibFilePath,
    getScriptFileNames: () => paths,
    getScriptVersion: () => "1",
    getScriptSnapshot: (path) => {
      const text = ts.sys.readFile(path)
      return text === undefined ? undefined : ts.ScriptSnapshot.fromString(text)
    }
  })
  return {
    completion: ({ path, offset }) => {
      const found = service.getCompletionsAtPosition(path, offset, {})
      return (found?.entries ?? []).map(({ name, kind, sortText }) => ({
        name,
        isGlobal: kind === "keyword" || sortText >= ts.Completions.SortText.GlobalsOrKeywords
      }))
    },
    hover: ({ path, offset }) => {
      const info = service.getQuickInfoAtPosition(path, offset)
      return info === undefined ? "" : ts.displayPartsToString(info.displayParts)
    },
    error: ({ path }) =>
      [...service.getSyntacticDiagnostics(path), ...service.getSemanticDiagnostics(path)].map(({ messageText }) =>
        ts.flattenDiagnosticMessageText(messageText, "\n")
      ),
    close: () => service.dispose()
  }
}
