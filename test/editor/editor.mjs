// What an editor shows of the library, asked of the language services of two versions of TypeScript:
// `node test/editor/editor.mjs` prints what they answer, `npm run check -- editor` compares.
import process from "node:process"
import { pathToFileURL } from "node:url"
import { cases, fixture } from "./cases.mjs"
import { writeProject } from "./project.mjs"
import * as typescript5 from "./typescript5.mjs"
import * as typescript7 from "./typescript7.mjs"

/** What every function has. */
const ofFunctions = new Set(Object.getOwnPropertyNames(Function.prototype).concat("prototype"))

/** Versions of TypeScript order the members of a union differently. */
const sortUnions = (type) =>
  type.replace(/(?:"\w+"|[\w.]+)(?: \| (?:"\w+"|[\w.]+))+/g, (union) => union.split(" | ").sort().join(" | "))

/** The answer of an editor as it stands in the table. */
const answerOf = async (editor, { ask }, file) => {
  const answer = await editor[ask](file)
  switch (ask) {
    case "completion":
      return answer.filter(({ name, isGlobal }) => !isGlobal && !ofFunctions.has(name)).map(({ name }) => name).sort()
        .join(" ")
    case "hover":
      return sortUnions(answer.replace(/```\w*/g, "").replace(/\s+/g, " ").trim().replace(/^const \w+: /, ""))
    case "error":
      return sortUnions(answer[0]?.split("\n")[0] ?? "")
  }
}

/** Asks both editors everything: the answers, and one line for each that is not the expected one. */
export const askEditors = async () => {
  const project = writeProject(fixture, cases)
  const problems = []
  const answers = []
  try {
    for (const { open, title } of [typescript5, typescript7]) {
      const editor = await open(project)
      try {
        const [broken] = await editor.error(project.fixtureFile)
        if (broken !== undefined) problems.push(`${title}, the fixture: ${broken}`)
        for (const [i, question] of cases.entries()) {
          const answer = await answerOf(editor, question, project.files[i])
          answers.push({ ...question, title, answer })
          if (answer !== question.expected) {
            problems.push(
              `${title}, ${question.ask} at ${question.code}\n  got      ${answer}\n  expected ${question.expected}`
            )
          }
        }
      } finally {
        editor.close()
      }
    }
  } finally {
    project.remove()
  }
  return { answers, problems }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { answers, problems } = await askEditors()
  for (const { title, ask, code, answer } of answers) console.log(`${title}, ${ask} at ${code}\n  ${answer}`)
  console.log(problems.join("\n"))
}
