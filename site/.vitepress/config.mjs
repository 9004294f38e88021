// The site: its sources are the pages that scripts/site.mjs has gathered in .build/pages.
import { readFileSync } from "node:fs"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitepress"

const at = (path) => fileURLToPath(new URL(path, import.meta.url))
const read = (path) => JSON.parse(readFileSync(at(path), "utf8"))

const { version } = read("../../package.json")
const { sections, titles } = read("../.build/contents.json")

/** A page's item in the side bar: its title is the first heading. */
const item = (page) => ({ text: titles[page], link: `/${page}` })

const guide = sections.filter(({ name }) => name !== "Reference")
const reference = sections.find(({ name }) => name === "Reference")

const base = process.env.CALLISTO_BASE ?? "/"

export default defineConfig({
  base,
  srcDir: "./.build/pages",
  outDir: "./.build/dist",
  cacheDir: "./.build/cache",
  title: "Callisto",
  description: "Asynchronous remote calls as values you hold, for Effect on Deno, Bun, Node and in browsers.",
  lang: "en",
  cleanUrls: false,
  lastUpdated: false,
  metaChunk: true,
  // Links to pages that do not exist end the build.
  ignoreDeadLinks: false,
  markdown: {
    theme: { light: "github-light-high-contrast", dark: "github-dark-high-contrast" },
    languageAlias: { idl: "c", jsonc: "json" }
  },
  head: [["link", { rel: "icon", href: "data:," }]],
  themeConfig: {
    siteTitle: "Callisto",
    nav: [
      { text: "Tutorial", link: "/tutorial" },
      { text: "Guide", link: "/network" },
      { text: "Reference", link: "/reference/" },
      { text: version, link: "/changes" }
    ],
    sidebar: {
      "/": guide.map(({ name, pages }) => ({ text: name, items: pages.map(item) })).concat(
        { text: "Reference", items: reference.pages.map(item).concat({ text: "Modules", link: "/reference/" }) }
      ),
      "/reference/": reference.modules
    },
    outline: [2, 3],
    search: { provider: "local" },
    // The name of a link begins with its text.
    notFound: { linkText: "Take me home", linkLabel: "Take me home" },
    // VitePress rewrites no links of the footer, and pages in folders have it too.
    footer: { message: `MIT licensed. <a href="${base}notices.html">Third-party notices</a>` }
  },
  vite: {
    build: { chunkSizeWarningLimit: 4000 },
    // Vite's compiler does not know the newest targets.
    esbuild: { tsconfigRaw: {} },
    // Nothing is fetched at build time, and nothing but the page's own origin later.
    publicDir: at("../.build/pages/public")
  }
})
